"""The layers that a terrain run offers: names, units, colours, and how a window of each comes about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from geosoil.errors import UsageError
from geosoil.prep.terrain import (
    Cell,
    SlopeMethod,
    aspect,
    curvatures,
    gradient,
    ls_boehner_selige,
    ls_desmet_govers,
    ls_moore,
    slope,
    specific_area,
    twi,
    with_halo,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float32, Float64

__all__ = ["LAYERS", "Land", "Layer", "Settings", "choose_layers"]

Span: TypeAlias = tuple[int, int]
#: What must be known before a layer can be written.
Stage: TypeAlias = Literal["heights", "flow", "streams"]

_BROWNS = ("fff7e6", "f7deb0", "e9bf7f", "d39b55", "b17435", "84501f", "542f10")
_BLUES = ("f7fbff", "d9e8f5", "b0d2e8", "79b5d9", "4690c4", "1f67a8", "0b3c75")
_REDS = ("fff5eb", "fee0c2", "fdbf85", "f9944a", "e4641c", "b33e0a", "772404")
#: Hollow to convex, white where the land is straight.
_BENT = ("2166ac", "67a9cf", "d1e5f0", "f7f7f7", "fddbc7", "ef8a62", "b2182b")
_HEIGHTS = ("3d6b4f", "6f9c6a", "b6c98a", "ecdfa6", "cfa772", "a4754c", "7a4b36")
_GREENS = ("00441b", "1b7837", "5aae61", "a6dba0", "d9f0d3", "f3f6e6", "fffbe6")


@dataclass(frozen=True)
class Settings:
    """How the land is looked at; recorded as it is.

    Attributes
    ----------
    slope_method : str
        As in `geosoil.prep.terrain.gradient`.
    min_slope_degree, flow_exponent : float
        Least slope over what was filled; exponent of the slope in shares of flow.
    stream_area_km2 : float
        Least catchment of a stream.
    hole_cells : int
        Largest hole in the data that water crosses.
    z_factor : float
        Metres in the unit of the heights.
    """

    slope_method: SlopeMethod
    min_slope_degree: float
    flow_exponent: float
    stream_area_km2: float
    hole_cells: int
    z_factor: float


@dataclass
class Land:
    """What is known of the land so far.

    Attributes
    ----------
    heights : (h, w) float32
        m; NaN where missing.
    cell : (float, float)
        Width and height of a cell, m.
    method : str
        Of the slope.
    surface, area : (h, w) float64, optional
        Without pits, m; catchment area by multiple flow, m2.
    rasters : dict
        Finished layers of the stage ``streams``.
    """

    heights: Float32
    cell: Cell
    method: SlopeMethod = "zevenbergen-thorne"
    surface: Float64 | None = None
    area: Float64 | None = None
    rasters: dict[str, NDArray[Any]] = field(default_factory=dict)

    def halo(self, rows: Span, columns: Span) -> Float32:
        """Heights of a window with one cell more on each side."""
        return with_halo(self.heights, rows, columns)

    def gradient(self, rows: Span, columns: Span) -> tuple[Float64, Float64]:
        """Rise to the east and the north in a window."""
        return gradient(self.halo(rows, columns), self.cell, method=self.method, halo=True)

    def slope(self, rows: Span, columns: Span) -> Float64:
        """Slope of a window, rad."""
        return slope(*self.gradient(rows, columns))

    def gathered(self, rows: Span, columns: Span) -> Float64:
        """Catchment area of a window, m2."""
        assert self.area is not None  # noqa: S101 - the stages come in their order
        return self.area[slice(*rows), slice(*columns)]

    def specific(self, rows: Span, columns: Span) -> Float64:
        """Specific catchment area of a window, m."""
        return specific_area(self.gathered(rows, columns), self.cell)


Window: TypeAlias = Callable[[Land, Span, Span], "Float64 | Float32"]


@dataclass(frozen=True)
class Layer:
    """A raster of a terrain run.

    Attributes
    ----------
    name : str
        File stem, band description and name as a covariate.
    title : str
        For people.
    unit : str
        ``1`` for none.
    stage : {"heights", "flow", "streams"}
        What it needs.
    colours : tuple of str
        Seven, from low to high.
    window : callable
        ``window(land, rows, columns)``; what it gives for missing cells does not matter.
    usual : bool
        Whether it is written unless others are asked for.
    codes : bool
        Whether the values are numbers of things, not quantities.
    """

    name: str
    title: str
    unit: str
    stage: Stage
    colours: tuple[str, ...]
    window: Window
    usual: bool = True
    codes: bool = False


def _aspect_part(part: Callable[[Float64], Float64]) -> Window:
    def window(land: Land, rows: Span, columns: Span) -> Float64:
        east, north = land.gradient(rows, columns)
        found = part(aspect(east, north))
        found[(east == 0) & (north == 0)] = 0.0  # flat cells face nowhere
        return found

    return window


def _curvature(place: int) -> Window:
    return lambda land, rows, columns: curvatures(
        land.halo(rows, columns), land.cell, halo=True, method=land.method
    )[place]  # fmt: skip


def _surface(land: Land, rows: Span, columns: Span) -> Float64:
    assert land.surface is not None  # noqa: S101 - the stages come in their order
    return land.surface[slice(*rows), slice(*columns)]


def _desmet_govers(land: Land, rows: Span, columns: Span) -> Float64:
    entering = land.gathered(rows, columns) - land.cell[0] * land.cell[1]
    return ls_desmet_govers(np.maximum(entering, 0.0), land.slope(rows, columns), land.cell)


def _raster(name: str) -> Window:
    return lambda land, rows, columns: land.rasters[name][slice(*rows), slice(*columns)].astype(np.float32)


LAYERS: tuple[Layer, ...] = (
    Layer("slope", "Slope", "degree", "heights", _BROWNS, lambda *at: np.degrees(at[0].slope(*at[1:]))),
    Layer("aspect", "Aspect, clockwise from north", "degree", "heights", _BENT,
          lambda *at: np.degrees(aspect(*at[0].gradient(*at[1:]))), usual=False),
    Layer("aspect_sin", "Aspect, eastward part", "1", "heights", _BENT, _aspect_part(np.sin)),
    Layer("aspect_cos", "Aspect, northward part", "1", "heights", _BENT, _aspect_part(np.cos)),
    Layer("profile_curvature", "Profile curvature", "1/m", "heights", _BENT, _curvature(0)),
    Layer("plan_curvature", "Plan curvature", "1/m", "heights", _BENT, _curvature(1)),
    Layer("total_curvature", "Total curvature", "1/m", "heights", _BENT, _curvature(2)),
    Layer("filled", "Elevation, pits filled", "m", "flow", _HEIGHTS, _surface),
    Layer("catchment_area", "Catchment area, MFD", "m2", "flow", _BLUES, lambda *at: at[0].gathered(*at[1:])),
    Layer("specific_catchment_area", "Specific catchment area", "m", "flow", _BLUES,
          lambda *at: at[0].specific(*at[1:])),
    Layer("twi", "Topographic wetness index", "1", "flow", _BLUES,
          lambda *at: twi(at[0].specific(*at[1:]), at[0].slope(*at[1:]))),
    Layer("ls_moore", "LS factor, Moore", "1", "flow", _REDS,
          lambda *at: ls_moore(at[0].specific(*at[1:]), at[0].slope(*at[1:]))),
    Layer("ls_desmet_govers", "LS factor, Desmet and Govers", "1", "flow", _REDS, _desmet_govers),
    Layer("ls_boehner_selige", "LS factor, Boehner and Selige", "1", "flow", _REDS,
          lambda *at: ls_boehner_selige(at[0].specific(*at[1:]), at[0].slope(*at[1:]))),
    Layer("catchment_area_d8", "Catchment area, D8", "m2", "streams", _BLUES,
          _raster("catchment_area_d8")),
    Layer("height_above_drainage", "Height above drainage", "m", "streams", _GREENS, _raster("height_above_drainage")),
    Layer("stream_order", "Stream order (Strahler), 0 beside streams", "1", "streams", _BLUES,
          _raster("stream_order"), usual=False, codes=True),
    Layer("basin", "Basin number, 0 for none", "1", "streams", _BROWNS, _raster("basin"), usual=False, codes=True),
)  # fmt: skip
_BY_NAME: Mapping[str, Layer] = {layer.name: layer for layer in LAYERS}


def choose_layers(names: Sequence[str] | None) -> tuple[Layer, ...]:
    """The layers of some names, in the order of the table; the usual ones for None.

    Raises
    ------
    UsageError
        ``GS-ATTRIBUTE-UNKNOWN``.

    >>> [layer.name for layer in choose_layers(["twi", "slope"])]
    ['slope', 'twi']
    """
    if names is None:
        return tuple(layer for layer in LAYERS if layer.usual)
    for name in names:
        if name not in _BY_NAME:
            near = get_close_matches(name, _BY_NAME, n=1)
            raise UsageError(
                f"terrain attribute {name[:40]!r} is not known",
                code="GS-ATTRIBUTE-UNKNOWN",
                details=[f"known: {', '.join(_BY_NAME)}"],
                hint=f"did you mean {near[0]}?" if near else "take some of these, with commas",
            )
    if not names:
        raise UsageError("no terrain attribute is named", code="GS-ATTRIBUTE-UNKNOWN", hint="name one: slope")
    return tuple(layer for layer in LAYERS if layer.name in names)
