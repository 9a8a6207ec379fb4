"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from geosoil.errors import OutputError
from geosoil.types import PathLike

__all__ = ["check_output", "keep_inputs", "output_error", "replacing", "settle", "sync_folder"]

_REASONS = {
    errno.ENOSPC: ("no space is left", "GS-NO-SPACE", "free some space, or write elsewhere"),
    errno.EDQUOT: ("the disk quota is used up", "GS-NO-SPACE", "free some space, or write elsewhere"),
    errno.EFBIG: ("the file would be larger than the system allows", "GS-NO-SPACE", "raise the limit (ulimit -f)"),
    errno.EACCES: ("it is not writable", "GS-NOT-WRITABLE", "choose a folder that you may write to"),
    errno.EPERM: ("it is not writable", "GS-NOT-WRITABLE", "choose a folder that you may write to"),
    errno.EROFS: ("the file system is read-only", "GS-NOT-WRITABLE", "choose a folder that you may write to"),
    errno.ENOTDIR: ("a part of the path is a file", "GS-NOT-WRITABLE", "choose another folder"),
    errno.EEXIST: ("a file of that name is in the way", "GS-NOT-WRITABLE", "choose another name"),
    errno.EISDIR: ("a folder of that name is in the way", "GS-NOT-WRITABLE", "choose another name"),
    errno.ENOENT: ("its folder does not exist", "GS-NOT-WRITABLE", "create the folder first"),
}

#: What a disk says that lost what it was given.
_LOST = (errno.EIO, errno.ENOSPC, errno.EDQUOT)

#: Longest path in the first line of a message, characters.
_MOST_SHOWN = 50


def output_error(path: PathLike, error: OSError) -> OutputError:
    """What an OSError at writing means, as the error that a user gets."""
    reason, code, hint = _REASONS.get(
        error.errno or 0, (error.strerror or str(error), "GS-NOT-WRITABLE", "choose another place")
    )
    name = str(path)
    if len(name) <= _MOST_SHOWN:
        return OutputError(f"{name} cannot be written: {reason}", code=code, hint=hint)
    short = f"...{name[3 - _MOST_SHOWN :]}"
    return OutputError(f"{short} cannot be written: {reason}", code=code, details=[f"path: {name}"], hint=hint)


def check_output(path: PathLike, *, overwrite: bool, inputs: Iterable[object] = ()) -> Path:
    """The path of a file, when it is free or may be replaced, and its folder can take it.

    Parameters
    ----------
    overwrite : bool
        Whether a file may be replaced.
    inputs : iterable
        What the run reads, see `keep_inputs`.

    Raises
    ------
    OutputError
        ``GS-OUTPUT-EXISTS``; ``GS-OUTPUT-INPUT``; ``GS-NOT-WRITABLE``, before any work is lost.
    """
    path = Path(path)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError as error:
        raise output_error(path, error) from error
    if is_folder:
        raise output_error(path, OSError(errno.EISDIR, ""))
    keep_inputs([path], inputs)
    if exists and not overwrite:
        raise OutputError(f"{path} exists", code="GS-OUTPUT-EXISTS", hint="choose another name, or add --overwrite")
    if not path.parent.is_dir():
        in_the_way = any(folder.exists() and not folder.is_dir() for folder in path.parents)
        raise output_error(path, OSError(errno.ENOTDIR if in_the_way else errno.ENOENT, ""))
    if not os.access(path.parent, os.W_OK):
        raise output_error(path, OSError(errno.EACCES, ""))
    return path


def keep_inputs(outputs: Iterable[Path], inputs: Iterable[object]) -> None:
    """Refuse outputs that would replace what the run reads.

    Parameters
    ----------
    outputs : iterable of Path
        Files that the run writes, be they there or not.
    inputs : iterable
        What it reads, as `io.reads` lists it: files, each with the ENVI header beside it, and folders with all that is
        in them. Whatever is no path is left alone.

    Raises
    ------
    OutputError
        ``GS-OUTPUT-INPUT``.
    """
    read = [Path(os.fspath(one)).expanduser() for one in inputs if isinstance(one, (str, os.PathLike))]
    for path in outputs:
        if any(_is_of(path, one) for one in read):
            shown = str(path) if len(str(path)) <= _MOST_SHOWN else f"...{str(path)[3 - _MOST_SHOWN :]}"
            raise OutputError(
                f"{shown} is read by this run, and would be replaced",
                code="GS-OUTPUT-INPUT",
                details=[] if shown == str(path) else [f"path: {path}"],
                hint="choose another name or folder for what is written",
            )


def _is_of(path: Path, given: Path) -> bool:
    """Whether a file is one that is read, or its header, or lies in a folder that is read."""
    try:
        if given.is_dir():
            return path.exists() and path.resolve().is_relative_to(given.resolve())
        headers = (given.with_suffix(".hdr"), given.with_name(f"{given.name}.hdr"))
        return path.samefile(given) or (path.suffix.lower() == ".hdr" and path.resolve() in map(Path.resolve, headers))
    except (OSError, TypeError, ValueError):  # an address, a pattern, a file that is not there yet
        return False


def sync_folder(folder: PathLike) -> None:
    """Make renames in a folder durable, where the system can; raises OSError where it should and the disk fails."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        # Any other says that this system does not sync folders.
        if error.errno in _LOST:
            raise


def settle(part: Path, path: Path) -> None:
    """Give a finished file its final name, durably; both lie on one file system."""
    with part.open("rb") as handle:
        os.fsync(handle.fileno())
    part.replace(path)
    sync_folder(path.parent)


@contextmanager
def replacing(path: PathLike) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well, and removed otherwise.

    The name keeps the suffix, so that libraries which go by it write the right format.

    Raises
    ------
    OutputError
        Where the file cannot be written; `path` is then as it was.
    """
    path = Path(path)
    part = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield part
        settle(part, path)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise output_error(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
