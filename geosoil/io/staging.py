"""A folder to work in that goes away again, and cubes that lie in it as plain numbers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.errors import OutputError
from geosoil.types import PathLike, as_path

from .atomic import output_error

if TYPE_CHECKING:
    from geosoil.types import Float32, Int64

__all__ = ["Staged", "Staging", "check_space", "workspace"]

# Disk space that is left alone, bytes.
_RESERVE = 64 * 2**20


@contextmanager
def workspace(parent: PathLike) -> Iterator[Path]:
    """A private folder of an unpredictable name in `parent`, removed with all that is in it when the block ends.

    Raises
    ------
    OutputError
        ``GS-NOT-WRITABLE``, ``GS-NO-SPACE``.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=".geosoil-", dir=as_path(parent)))
    except OSError as error:
        raise output_error(parent, error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_space(needs: dict[Path, int]) -> None:
    """Raise OutputError ``GS-NO-SPACE`` where folders have no room for so many bytes; those on one disk add up."""
    disks: dict[int, tuple[Path, int]] = {}
    for folder, needed in needs.items():
        device = folder.stat().st_dev
        first, before = disks.get(device, (folder, 0))
        disks[device] = first, before + needed
    for folder, needed in disks.values():
        free = shutil.disk_usage(folder).free - _RESERVE
        if needed > free:
            raise OutputError(
                f"the disk has no room for {needed / 1e9:.1f} GB",
                code="GS-NO-SPACE",
                details=[f"folder: {folder}", f"free: {max(free, 0) / 1e9:.1f} GB"],
                hint="free some space, or work on another disk: --work FOLDER",
            )


class Staging:
    """A cube under way: strips of lines in, one plain file of float32, band by band.

    Parameters
    ----------
    path : Path
        File to make.
    shape : (int, int, int)
        Bands, lines, samples.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self.path, self.shape = path, shape
        self._file = path.open("wb")

    def write(self, first: int, values: Float32) -> None:
        """Write ``(p, n, w)`` values of the lines from `first` on; raises OutputError where the disk is full."""
        _, lines, samples = self.shape
        try:
            for band, one in enumerate(values):
                self._file.seek((band * lines + first) * samples * 4)
                self._file.write(np.ascontiguousarray(one, "<f4").data)
        except OSError as error:
            raise output_error(self.path, error) from error

    def finish(self) -> Staged:
        """The reader of what was written."""
        try:
            self._file.close()
        except OSError as error:
            raise output_error(self.path, error) from error
        return Staged(self.path, self.shape, tuple(range(self.shape[0])))

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@dataclass(frozen=True)
class Staged:
    """Windows of a cube that `Staging` wrote; a ``types.WindowReader``."""

    path: Path
    stored: tuple[int, int, int]
    chosen: tuple[int, ...]

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("geosoil.Staged", str(self.path), self.stored, self.chosen)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, lines, samples."""
        return len(self.chosen), self.stored[1], self.stored[2]

    def take(self, positions: list[int]) -> Staged:
        """The reader of some of the bands."""
        return replace(self, chosen=tuple(self.chosen[place] for place in positions))

    def read(self, bands: Int64, rows: tuple[int, int], cols: tuple[int, int]) -> Float32:
        """The window of the given bands."""
        # Mapped for this window only: what stays mapped counts as the process's memory.
        cube = np.memmap(self.path, np.dtype("<f4"), "r", shape=self.stored)
        out = np.empty((len(bands), rows[1] - rows[0], cols[1] - cols[0]), np.float32)
        for place, band in enumerate(np.asarray(bands, np.int64).tolist()):
            out[place] = cube[self.chosen[band], rows[0] : rows[1], cols[0] : cols[1]]
        return out
