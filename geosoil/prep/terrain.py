"""Shape of the land from heights: slope, aspect, curvatures, wetness and the factor LS of erosion.

Heights are in metres on a grid of metres, north up. Where a neighbour is missing, the one opposite is mirrored at the
cell, so that edges have values too; a missing cell stays missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from geosoil.errors import UsageError
from geosoil.kernels.terrain import first_derivatives, second_derivatives

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64

__all__ = [
    "SLOPE_METHODS",
    "Cell",
    "SlopeMethod",
    "aspect",
    "curvatures",
    "gradient",
    "ls_boehner_selige",
    "ls_desmet_govers",
    "ls_moore",
    "slope",
    "specific_area",
    "twi",
    "with_halo",
]

#: Width and height of a cell, m.
Cell: TypeAlias = tuple[float, float]
SlopeMethod: TypeAlias = Literal["zevenbergen-thorne", "horn"]
SLOPE_METHODS: tuple[SlopeMethod, ...] = ("zevenbergen-thorne", "horn")

#: Least tangent of the slope in TWI: flat cells would have no finite value.
LEAST_TANGENT = 0.001
#: Length, m, and sine of the slope (9 %) of the plot that the soil-loss equation was made for.
PLOT_LENGTH_M, PLOT_SINE = 22.13, 0.0896
#: A slope of 9 %, rad, where S of Desmet and Govers changes; and one of 5 % where the exponent of Boehner and Selige.
_STEEP, _GENTLE = 0.0898, 0.0505


def with_halo(z: Float32, rows: tuple[int, int], columns: tuple[int, int]) -> Float32:
    """A window with one cell more on each side, NaN outside the grid.

    >>> with_halo(np.float32([[1, 2], [3, 4]]), (0, 1), (1, 2)).tolist()
    [[nan, nan, nan], [1.0, 2.0, nan], [3.0, 4.0, nan]]
    """
    height, width = z.shape
    out = np.full((rows[1] - rows[0] + 2, columns[1] - columns[0] + 2), np.nan, np.float32)
    top, left = max(rows[0] - 1, 0), max(columns[0] - 1, 0)
    bottom, right = min(rows[1] + 1, height), min(columns[1] + 1, width)
    down, across = top - rows[0] + 1, left - columns[0] + 1
    out[down : down + bottom - top, across : across + right - left] = z[top:bottom, left:right]
    return out


def gradient(
    z: Float32, cell: Cell, *, method: SlopeMethod = "zevenbergen-thorne", halo: bool = False
) -> tuple[Float64, Float64]:
    """Rise towards the east and the north, m/m.

    Parameters
    ----------
    z : (h, w) float32
        Heights, m; NaN where missing. With `halo` (h + 2, w + 2), a window of `with_halo`.
    cell : (float, float)
        Width and height of a cell, m.
    method : {"zevenbergen-thorne", "horn"}
        Four or eight neighbours; the first keeps more of the detail, the second more of the peace.

    Returns
    -------
    east, north : (h, w) float64

    Raises
    ------
    UsageError
        ``GS-SLOPE-METHOD``.
    """
    if method not in SLOPE_METHODS:
        raise UsageError(
            f"slope method {method!r} is not known", code="GS-SLOPE-METHOD", hint=f"take {' or '.join(SLOPE_METHODS)}"
        )
    window = _window(z, halo)
    east, north = (np.empty((window.shape[0] - 2, window.shape[1] - 2)) for _ in range(2))
    first_derivatives(window, cell[0], cell[1], method == "horn", east, north)
    return east, north


def _window(z: Float32, halo: bool) -> Float32:
    heights = np.ascontiguousarray(z, np.float32)
    return heights if halo else with_halo(heights, (0, heights.shape[0]), (0, heights.shape[1]))


def slope(east: Float64, north: Float64) -> Float64:
    """Angle of the steepest descent, rad, from the gradient.

    >>> np.degrees(slope(np.array([1.0]), np.array([0.0]))).round(6).tolist()
    [45.0]
    """
    return np.arctan(np.hypot(east, north))


def aspect(east: Float64, north: Float64) -> Float64:
    """Direction of the steepest descent, rad clockwise from north, 0 to 2 pi; NaN on flat cells.

    >>> np.degrees(aspect(np.array([-1.0, 0.0]), np.array([0.0, 0.0]))).tolist()
    [90.0, nan]
    """
    flat = (east == 0) & (north == 0)
    found = np.mod(np.arctan2(-east, -north), 2 * np.pi)
    return np.where(flat, np.nan, found)


def curvatures(
    z: Float32, cell: Cell, *, halo: bool = False, method: SlopeMethod = "zevenbergen-thorne"
) -> tuple[Float64, Float64, Float64]:
    """Profile, plan and total curvature, 1/m, in the definition and with the signs of Zevenbergen and Thorne (1987).

    Profile is along the steepest descent, positive where the slope bulges and flow speeds up; plan is across it,
    positive in hollows where flow comes together. Total is plan less profile, the sum of both second derivatives:
    positive where the land is hollow. On flat cells, which have no direction, profile and plan are 0.

    Parameters
    ----------
    z, cell, halo, method
        As in `gradient`; the method is that of the direction.

    Returns
    -------
    profile, plan, total : (h, w) float64
    """
    window = _window(z, halo)
    p, q = gradient(window, cell, method=method, halo=True)
    xx, yy, xy = (np.empty_like(p) for _ in range(3))
    second_derivatives(window, cell[0], cell[1], xx, yy, xy)
    squared = p * p + q * q
    with np.errstate(invalid="ignore", divide="ignore"):
        along = (xx * p * p + 2 * xy * p * q + yy * q * q) / squared
        across = (xx * q * q - 2 * xy * p * q + yy * p * p) / squared
    flat = squared == 0
    along[flat] = across[flat] = 0.0
    return -along, across, xx + yy


def specific_area(area: Float64, cell: Cell) -> Float64:
    """Catchment area a metre of contour, m: the area over the edge of a cell."""
    return area / _edge(cell)


def _edge(cell: Cell) -> float:
    """Edge of the square cell of the same area, m."""
    return float(np.sqrt(cell[0] * cell[1]))


def twi(specific: Float64, slope: Float64) -> Float64:
    """Topographic wetness index ln(a / tan slope) (Beven and Kirkby 1979), the tangent at least 0.001.

    Parameters
    ----------
    specific : array
        Specific catchment area, m.
    slope : array
        Slope, rad.

    >>> twi(np.array([100.0, 100.0]), np.array([np.pi / 4, 0.0])).round(3).tolist()
    [4.605, 11.513]
    """
    return np.log(specific / np.maximum(np.tan(slope), LEAST_TANGENT))


def ls_moore(specific: Float64, slope: Float64) -> Float64:
    """Slope length and steepness factor by Moore et al. (1991).

    Parameters
    ----------
    specific : array
        Specific catchment area, m.
    slope : array
        Slope, rad.

    >>> ls_moore(np.array([22.13]), np.array([np.arcsin(0.0896)])).round(12).tolist()
    [1.4]
    """
    return 1.4 * (specific / PLOT_LENGTH_M) ** 0.4 * (np.sin(slope) / PLOT_SINE) ** 1.3


def ls_desmet_govers(entering: Float64, slope: Float64, cell: Cell) -> Float64:
    """Slope length and steepness factor by Desmet and Govers (1996), with the steepness of McCool et al. (1987).

    Parameters
    ----------
    entering : array
        Area that drains into the cell, its own excluded, m2. (SAGA takes the area with the cell's own.)
    slope : array
        Slope, rad.
    cell : (float, float)
        Width and height of a cell, m.

    >>> ls_desmet_govers(np.array([0.0]), np.array([0.0]), (22.13, 22.13)).round(12).tolist()
    [0.03]
    """
    edge, sine = _edge(cell), np.sin(slope)
    # Rill over interrill erosion (Foster et al. 1977; McCool et al. 1989).
    ratio = (sine / PLOT_SINE) / (3 * sine**0.8 + 0.56)
    m = ratio / (1 + ratio)
    length = ((entering + edge**2) ** (m + 1) - entering ** (m + 1)) / (edge ** (m + 2) * PLOT_LENGTH_M**m)
    steepness = np.where(slope < _STEEP, 10.8 * sine + 0.03, 16.8 * sine - 0.5)
    return length * steepness


def ls_boehner_selige(specific: Float64, slope: Float64) -> Float64:
    """Slope length and steepness factor by Boehner and Selige (2006).

    Parameters
    ----------
    specific : array
        Specific catchment area, m.
    slope : array
        Slope, rad.

    >>> ls_boehner_selige(np.array([22.13]), np.array([0.0])).round(12).tolist()
    [0.065]
    """
    sine = np.sin(slope)
    power = np.where(slope < _GENTLE, 3 * slope**0.6, 0.5)
    return (specific / PLOT_LENGTH_M) ** power * (65.41 * sine**2 + 4.56 * sine + 0.065)
