"""Names of files that every system can hold."""

from __future__ import annotations

import re

NAME_BYTES = 150
"""Of a study's name: files are named after it with a few words more, and a file system takes 255 bytes."""

_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE | re.DOTALL)
"""What Windows takes for a device, whatever its extension."""


def portable_name(name: str) -> str:
    """`name` as Windows can hold it too: not that of a device, no dot or space at its end."""
    ends = name.rstrip(". ")
    name = ends + "_" * (len(name) - len(ends))
    return f"_{name}" if _DEVICES.fullmatch(name) else name


def checked_name(value: str) -> str:
    """`value`, if it is safe as the beginning of a file's name, on the command line too.

    Raises:
        ValueError: it is not.
    """
    if not value or len(value.encode("utf-8", "surrogatepass")) > NAME_BYTES:
        raise ValueError(f"a name has 1 to {NAME_BYTES} bytes")
    if not value.isprintable() or "/" in value or "\\" in value:
        raise ValueError("a name holds no slash, line break or other unprintable character: files are named after it")
    if value[0] in ".-~ " or value[-1] in ". ":
        raise ValueError("a name does not begin with . - ~ or a space, nor end with . or a space")
    if _DEVICES.fullmatch(value):
        raise ValueError("Windows takes this name for a device: files are named after it")
    return value
