"""Grids: whether two are the same, and how a message shows one."""

from __future__ import annotations

from collections.abc import Sequence

from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from geosoil.errors import InputError, listing

from .addresses import redact, short_name

__all__ = ["LONGEST", "outline_on", "parse_crs", "refuse_mismatch", "same_crs", "same_grid", "show_grid"]

#: Most rows, and most columns: their coordinates are held. The world at 3 m has fewer.
LONGEST = 2**24
#: Part of a cell by which two grids may differ and still be one.
TOLERANCE = 1e-3


def parse_crs(text: str) -> CRS:
    """The CRS that the user names.

    Raises
    ------
    InputError
        ``GS-CRS-UNKNOWN``.
    """
    try:
        return CRS(text)
    except Exception as error:  # odc-geo and pyproj raise several kinds
        raise InputError(
            f"{text[:60]!r} is not a CRS", code="GS-CRS-UNKNOWN", hint="name it as in --crs EPSG:32755"
        ) from error


def same_crs(one: CRS | None, other: CRS | None) -> bool:
    """Whether two CRS mean the same, however they are spelled."""
    if one is None or other is None:
        return one is other
    if one == other or (one.epsg is not None and one.epsg == other.epsg):
        return True
    return bool(one.proj.equals(other.proj, ignore_axis_order=True))


def outline_on(one: GeoBox, other: GeoBox) -> Geometry:
    """The outline of a grid in the CRS of another."""
    return one.extent if same_crs(one.crs, other.crs) or other.crs is None else one.footprint(other.crs)


def same_grid(one: GeoBox, other: GeoBox) -> bool:
    """Whether two grids have the same CRS, shape and, to a thousandth of a cell, corners.

    >>> from affine import Affine
    >>> grid = GeoBox((10, 20), Affine(30, 0, 600000, 0, -30, 6700000), "EPSG:32755")
    >>> same_grid(grid, grid.translate_pix(0.0001, 0)), same_grid(grid, grid.translate_pix(0.5, 0))
    (True, False)
    """
    if tuple(one.shape) != tuple(other.shape) or not same_crs(one.crs, other.crs):
        return False
    rows, cols = one.shape
    to_other = ~other.affine * one.affine
    corners = ((0, 0), (cols, rows))
    return all(
        abs(found - wanted) <= TOLERANCE
        for corner in corners
        for found, wanted in zip(to_other * corner, corner, strict=True)
    )


def show_grid(grid: GeoBox) -> str:
    """CRS, size, cell and corner, for a message.

    >>> from affine import Affine
    >>> show_grid(GeoBox((10, 20), Affine(30, 0, 600000, 0, -30, 6700000), "EPSG:32755"))
    'EPSG:32755, 20 x 10 cells of 30 x 30, upper left 600000, 6700000'
    """
    rows, cols = grid.shape
    affine = grid.affine
    cell = f"{affine.a:.10g} x {abs(affine.e):.10g}"
    return f"{show_crs(grid.crs)}, {cols} x {rows} cells of {cell}, upper left {affine.c:.12g}, {affine.f:.12g}"


def show_crs(crs: CRS | None) -> str:
    """EPSG code, or the CRS's name."""
    if crs is None:
        return "no CRS"
    return f"EPSG:{crs.epsg}" if crs.epsg is not None else crs.proj.name


def refuse_mismatch(parts: Sequence[tuple[str, GeoBox]]) -> None:
    """Refuse sources on different grids.

    Parameters
    ----------
    parts : sequence of (address, grid)
        What is to be stacked.

    Raises
    ------
    InputError
        ``GS-GRID-MISMATCH``, with every grid and the files on it.
    """
    groups: list[tuple[GeoBox, list[str]]] = []
    for address, grid in parts:
        members = next((names for known, names in groups if same_grid(known, grid)), None)
        if members is None:
            groups.append((grid, [address]))
        else:
            members.append(address)
    if len(groups) < 2:
        return
    groups.sort(key=lambda group: -len(group[1]))  # stable: the most common grid, then in order
    odd, common = groups[1][1][0], groups[0][1][0]
    raise InputError(
        f"{short_name(odd, 30)} is not on the grid of {short_name(common, 30)}",
        code="GS-GRID-MISMATCH",
        details=[f"{show_grid(grid)}: {listing([redact(one) for one in names], 3)}" for grid, names in groups[:6]],
        hint=f"put all on one grid: --align {redact(common)}, or in a study: align in [scene]",
    )
