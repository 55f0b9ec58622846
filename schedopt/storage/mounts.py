"""Whether a folder lies on a network file system, where SQLite's write-ahead log and locks cannot be trusted."""

from __future__ import annotations

from pathlib import Path

import psutil

NETWORK = (
    *("9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "orangefs"),
    *("panfs", "smb2", "smb3", "smbfs", "wekafs"),
    *("fuse.ceph", "fuse.glusterfs", "fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
)
"""Types as Linux names them. The log needs memory that its users share, and machines share none."""


def network_file_system(folder: Path) -> str | None:
    """Type of the network file system that holds `folder`; None for a local one, or where the system does not tell."""
    try:
        mounts = psutil.disk_partitions(all=True)
    except (OSError, RuntimeError):
        return None
    folder = folder.resolve()
    above = [mount for mount in mounts if folder.is_relative_to(mount.mountpoint)]
    if not above:
        return None
    # The deepest mount holds it; of two at the same place the later one hides the earlier.
    kind = max(enumerate(above), key=lambda entry: (len(Path(entry[1].mountpoint).parts), entry[0]))[1].fstype
    return kind if kind in NETWORK else None
