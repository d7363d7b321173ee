"""Files that are there whole or not at all."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path


def write_whole(path: str | os.PathLike, data: bytes) -> Path:
    """Write beside the place and rename: a reader finds the old file or the whole new one, even after a crash.

    A file that is there keeps its permissions, and a link to it remains a link.

    Raises
    ------
    OSError
        There is no such folder, `path` is a folder, or the disk does not take it; an old file is still there then.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(f"{os.fspath(path)} is a folder; give the path of a file")
    if path.exists() and not path.is_file():  # a device or a pipe: written to, not replaced
        path.write_bytes(data)
        return path
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} into")
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(beside, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            beside.chmod(stat.S_IMODE(path.stat().st_mode))
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    if os.name == "posix":
        # the rename itself is on the disk only when its folder is
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            with suppress(OSError):  # some file systems cannot
                os.fsync(folder)
        finally:
            os.close(folder)
    return path
