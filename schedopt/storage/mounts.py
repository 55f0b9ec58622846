"""Whether a folder lies on a network file system, where SQLite's write-ahead log and locks cannot be trusted."""

from __future__ import annotations

import re
from pathlib import Path

NETWORK = (
    *("9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "orangefs"),
    *("panfs", "smb2", "smb3", "smbfs", "wekafs"),
    *("fuse.ceph", "fuse.glusterfs", "fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
)
"""Types as Linux names them. The log needs memory that its users share, and machines share none."""


def network_file_system(folder: Path) -> str | None:
    """Type of the network file system that holds `folder`; None for a local one, or where the system does not tell."""
    kind = _file_system(folder.resolve(), _read_mounts())
    return kind if kind in NETWORK else None


def _read_mounts() -> str:
    """Linux' table of this process's mounts (proc(5)); empty elsewhere."""
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _file_system(folder: Path, table: str) -> str | None:
    """Type of the deepest mount above `folder`; of two at the same place the later one hides the earlier."""
    found: tuple[int, str] | None = None
    for line in table.splitlines():
        # 36 35 98:0 /root /mount/point options … - type source options
        before, _, after = line.partition(" - ")
        place = Path(_unescaped(before.split()[4]))
        if folder.is_relative_to(place) and (found is None or len(place.parts) >= found[0]):
            found = (len(place.parts), after.split()[0])
    return None if found is None else found[1]


def _unescaped(place: str) -> str:
    """Spaces and the like stand in the table as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), place)
