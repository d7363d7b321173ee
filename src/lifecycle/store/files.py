"""Atomic writing of files."""

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_SHOWN = 50  # characters of the file's name in that of a temporary file: at most 200 bytes, of 255
_SUFFIX = ".tmp"
_FULL = {errno.ENOSPC: "the disk is full", getattr(errno, "EDQUOT", -1): "the quota of the disk is used up"}
_ONLY_REGULAR = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def write_atomically(path: str | os.PathLike, data: bytes | Iterable[Any]) -> Path:
    """Write a temporary file and rename it: a reader finds the old file or the complete new one, even after a crash.

    An existing file keeps its permissions, and a link to it remains a link. The next save to `path` removes the
    temporary file of one that was killed.

    Parameters
    ----------
    path : str or os.PathLike
    data : bytes, or an iterable of buffers of bytes
        Buffers are written one after another, without a copy of all.

    Raises
    ------
    OSError
        The folder does not exist or cannot be written to, `path` is a folder, or the disk is full; an old file is
        unchanged then.
    """
    buffers: Iterable[Any] = [data] if isinstance(data, bytes) else data
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(f"{os.fspath(path)} is a folder; give the path of a file")
    if path.exists() and not path.is_file():  # a device or a pipe cannot be replaced
        with _naming_a_full_disk(path), open(path, "wb") as device:
            device.writelines(buffers)
        return path
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} into")
    _remove_leftovers(path)
    temporary, file = _create_temporary(path)
    try:
        with _naming_a_full_disk(path), file:
            file.writelines(buffers)
            file.flush()
            os.fsync(file.fileno())
            with suppress(FileNotFoundError):
                temporary.chmod(stat.S_IMODE(path.stat().st_mode))
            if fcntl is None:
                file.close()  # Windows renames no open file
            os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if os.name == "posix":
        # the rename is on the disk only once its folder is
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            with suppress(OSError):  # not every file system can
                os.fsync(folder)
        finally:
            os.close(folder)
    return path


@contextmanager
def _naming_a_full_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise OSError(error.errno, f"{_FULL[error.errno]}: {path} was not written") from None


def _prefix(path: Path) -> str:
    """How the names of a file's temporary files begin: short enough for every name, and told apart by a digest."""
    return f".{path.name[:_SHOWN]}.{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}."


def _create_temporary(path: Path) -> tuple[Path, BinaryIO]:
    """A new file beside `path`, open and locked until it is closed, also by the end of the process."""
    while True:
        temporary = path.with_name(f"{_prefix(path)}{secrets.token_hex(6)}{_SUFFIX}")
        try:
            file = open(temporary, "xb")
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            raise OSError(error.errno, f"{path.name} was not written: {path.parent} is a read-only folder") from None
        try:
            if fcntl is None or _lock(file, wait=True, name=temporary):
                return temporary, file
        except BaseException:
            file.close()
            with suppress(OSError):
                temporary.unlink()
            raise
        file.close()  # another save took it for a leftover before it was locked


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of saves to `path` that were killed: nobody has them open, or holds their lock."""
    prefix = _prefix(path)
    with suppress(OSError), os.scandir(path.parent) as entries:
        names = [e.name for e in entries if e.name.startswith(prefix) and e.name.endswith(_SUFFIX)]
        for leftover in map(path.with_name, names):
            with suppress(OSError):  # somebody else removed it, or it is not ours
                if fcntl is None:
                    leftover.unlink()  # Windows removes no open file
                    continue
                with open(leftover, "rb", opener=lambda name, flags: os.open(name, flags | _ONLY_REGULAR)) as file:
                    if _lock(file, wait=False, name=leftover):
                        leftover.unlink()


def _lock(file: BinaryIO, *, wait: bool, name: Path) -> bool:
    """Lock a file; False if another process has the lock, or if the file of that name is no longer this one."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # not every file system can; nothing is removed there
        return wait
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(name))
    return False
