"""A folder of results that appear together, when all of them are finished, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from geosoil.errors import OutputError
from geosoil.io.atomic import check_output, output_error, settle
from geosoil.types import PathLike

__all__ = ["staged"]


@contextmanager
def staged(out: PathLike, names: Sequence[str], *, overwrite: bool, inputs: Iterable[object] = ()) -> Iterator[Path]:
    """A work folder inside `out`; its files move to `out` when the block ends well.

    After an error `out` is as it was before, and absent where it was absent.

    Parameters
    ----------
    out : path
        Folder; made when it is not there.
    names : sequence of str
        Files that are to be written; checked before any work is done.
    overwrite : bool
        Whether files of these names may be replaced.
    inputs : iterable
        What the run reads, which is not: see `io.atomic.keep_inputs`.

    Raises
    ------
    OutputError
        ``GS-OUTPUT-EXISTS``, ``GS-OUTPUT-INPUT``, ``GS-NOT-WRITABLE``, ``GS-NO-SPACE``.
    """
    out, inputs = Path(out).expanduser(), tuple(inputs)
    made = _make(out)
    work: Path | None = None
    try:
        for name in names:
            check_output(out / name, overwrite=overwrite, inputs=inputs)
        try:
            work = Path(tempfile.mkdtemp(prefix=".geosoil-", dir=out))
        except OSError as error:
            raise output_error(out, error) from error
        yield work
        for path in sorted(work.iterdir()):
            settle(path, out / path.name)
        made = []
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise output_error(out, error) from error
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()


def _make(out: Path) -> list[Path]:
    """Make the folder; returns those that were not there, the outermost first."""
    try:
        absent = [folder for folder in (out, *out.parents) if not folder.exists()][::-1]
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(out, error) from error
    if not os.access(out, os.W_OK):
        raise output_error(out, PermissionError(13, ""))
    return absent
