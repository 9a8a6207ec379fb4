"""Protocols and small records that the layers share."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from .bands import Bands

    Float32: TypeAlias = NDArray[np.float32]
    Float64: TypeAlias = NDArray[np.float64]
    Int64: TypeAlias = NDArray[np.int64]
    UInt16: TypeAlias = NDArray[np.uint16]
    Bool: TypeAlias = NDArray[np.bool_]

__all__ = [
    "CellPredictor",
    "Estimator",
    "Layers",
    "Opened",
    "PathLike",
    "Predictor",
    "Progress",
    "Reader",
    "WindowReader",
    "quiet",
]

PathLike: TypeAlias = str | os.PathLike[str]

#: ``progress(done, total, message)``; called often, so it must be cheap.
Progress: TypeAlias = Callable[[int, int, str], None]


def quiet(done: int, total: int, message: str) -> None:
    """A progress callback that says nothing."""


@dataclass(frozen=True, slots=True)
class Layers:
    """The observed layers of a set of profiles, one entry a layer.

    Attributes
    ----------
    profile : (L,) int64
        Row of the profile that the layer belongs to, in the features given beside it.
    depth_cm : (L,) float64
        Mid-point of the layer, cm.
    target : (L,) int64
        Index of the depth interval that the layer stands for.
    value : (L,) float64
        Observed value; in the property's unit, or on the transformed scale where that is said.
    """

    profile: Int64
    depth_cm: Float64
    target: Int64
    value: Float64

    def __len__(self) -> int:
        return len(self.value)


class Predictor(Protocol):
    """A fitted model: features in, one value for each depth out. Knows nothing of files, units or scaling.

    `features` are channels-last float32, encoded by ``prep.covariates.Encoder``.
    """

    @property
    def kind(self) -> str:
        """Name in the registry, by which a model file finds the class again."""
        ...

    @property
    def patch(self) -> int:
        """Width of the patch in cells; odd."""
        ...

    @property
    def targets(self) -> int:
        """Number of depths."""
        ...

    def predict(self, features: Float32) -> Float32:
        """Patches ``(n, patch, patch, F)`` to ``(n, targets)``."""
        ...

    def predict_tile(self, features: Float32) -> Float32:
        """A block with its halo, ``(h + patch - 1, w + patch - 1, F)``, to ``(targets, h, w)``."""
        ...

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """What a model file holds: JSON values, and arrays by name."""
        ...

    @classmethod
    def restore(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Predictor:
        """Inverse of `state`; raises ModelError where the two do not fit."""
        ...


@runtime_checkable
class CellPredictor(Protocol):
    """A predictor that looks at single cells, and takes them in a scene's own order."""

    def predict_cells(self, cells: Float32) -> tuple[Float32, Bool]:
        """Bands by cells ``(p, n)``, NaN where there is no data, to ``(targets, n)``, and where all bands have one."""
        ...


class Cells(Protocol):
    """A window of a scene whose cells are read as they are asked for."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        ...

    def part(self, rows: slice, cols: slice) -> Cells:
        """A part of the window; what lies beyond it is cut off."""
        ...

    def planes(self, bands: Int64) -> Float32:
        """Some of the bands (b, h, w), NaN where there is no data."""
        ...

    def pick(self, bands: Int64, row: Int64, column: Int64, edges: Int64, out: Float32) -> None:
        """Some of the bands at groups of cells of the window.

        The cells come group by group, and within each by rows; a group begins at each of the (G + 1) `edges` but the
        last. `out` (b * n,) is filled group by group, each as (b, its cells).
        """
        ...


class Estimator(Protocol):
    """A way to fit: hyper-parameters in the constructor, data in `fit`."""

    def fit(self, features: Float32, layers: Layers, depths_cm: Float64, progress: Progress = quiet) -> Predictor:
        """Fit on patches.

        Parameters
        ----------
        features : (P, patch, patch, F) float32
            One encoded patch a profile.
        layers : Layers
            Observed layers of these profiles, values on the transformed scale.
        depths_cm : (T,) float64
            Mid-points of the depth intervals to predict, cm.
        """
        ...


class WindowReader(Protocol):
    """Reads windows ``(band, row, column)`` of float32, NaN where there is no data. Picklable, safe in threads."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        ...

    def take(self, positions: list[int]) -> Self:
        """The reader of some of the bands, in the order given."""
        ...

    def read(self, bands: Int64, rows: tuple[int, int], cols: tuple[int, int]) -> Float32:
        """The window of the given bands; first and one past the last row and column, all inside."""
        ...


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory that reading windows takes, bytes.

    Attributes
    ----------
    own : int
        At most, on the thread that reads a window; the window is part of it.
    kept : int
        What open files of a thread keep besides, also between two windows.
    shared : int
        What all threads keep together besides.
    """

    own: int
    kept: int = 0
    shared: int = 0


@runtime_checkable
class Measured(Protocol):
    """A `WindowReader` that tells what its windows take; of others the memory is planned as two windows."""

    def footprint(self, rows: int, cols: int) -> Footprint:
        """Memory of reading windows of so many rows and columns, all bands."""
        ...


@dataclass(frozen=True)
class Opened:
    """A source of bands on one grid, no pixel of it read.

    Attributes
    ----------
    address : str
        What messages call it.
    bands : Bands
        Names, wavelengths, and which are good.
    geobox : GeoBox
        The grid, north up; without a CRS, one cell a sample and a line, for an image in sensor geometry.
    reader : WindowReader
        Gives the values.
    sources : tuple of str
        The files, without what may be secret in their addresses.
    facts : mapping
        What is known of the values: ``quantity`` (``reflectance``, ``radiance`` or ``dn``; absent for covariates),
        ``units``, ``sensor``, ``acquired`` (ISO 8601), ``notes`` (tuple of str: what the reader had to decide or what
        differs from what it expected), and what else a format tells. They become the scene's ``attrs``.
    """

    address: str
    bands: Bands
    geobox: GeoBox
    reader: WindowReader
    sources: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Reader(Protocol):
    """Opens one kind of file. Readers stand in ``registry.READERS``, those of plug-ins in ``geosoil.readers``."""

    def accepts(self, address: str) -> bool:
        """Whether this reader knows the file or folder, from its name and first bytes."""
        ...

    def open(self, address: str, *, crs: str | None = None, mapped: bool = True) -> Opened:
        """Open it.

        Parameters
        ----------
        crs : str, optional
            CRS of a source that has none.
        mapped : bool
            Whether a map grid is needed. Else an image in sensor geometry opens too, with lines and samples as y and x.

        Raises
        ------
        InputError
        """
        ...


def as_path(path: PathLike) -> Path:
    """A path with ``~`` expanded."""
    return Path(path).expanduser()
