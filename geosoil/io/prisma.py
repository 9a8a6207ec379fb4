"""PRISMA L2D products: geocoded reflectance in an HDF-EOS5 file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from geosoil.errors import InputError
from geosoil.types import Footprint, Opened

from . import hdf
from .addresses import redact, short_name, suffix
from .gdal import Handle
from .grids import parse_crs
from .hdfchunks import chunk_bytes, part
from .headers import choose_crs
from .wavelengths import Spectral, mark_overlaps

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64, Int64

__all__ = ["Prisma"]

_FIELDS = "HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields"
#: Largest stored number, which stands for the maximum of the scale.
_FULL = 65535.0
#: Cell size, m.
_CELL = 30.0
#: Bands that show where the image ends: cells that are zero in both lie outside, nm.
_SHOWING_NM = (550.0, 860.0)
_SIDES = ("Vnir", "Swir")


@dataclass(frozen=True)
class _Band:
    """Where a band is stored, and how."""

    cube: str
    plane: int
    scale: float
    offset: float


@dataclass(frozen=True)
class _Cubes:
    """Windows of the two cubes, which store a line of all bands together: ``(line, band, sample)``."""

    handle: Handle
    bands: tuple[_Band, ...]
    names: tuple[str, ...]
    showing: tuple[_Band, ...] = field(repr=False)
    size: tuple[int, int]
    chunk: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        return len(self.bands), *self.size

    def take(self, positions: list[int]) -> _Cubes:
        """See `types.WindowReader`."""
        return replace(
            self,
            bands=tuple(self.bands[place] for place in positions),
            names=tuple(self.names[place] for place in positions),
        )

    def footprint(self, rows: int, cols: int) -> Footprint:
        """See `types.Measured`."""
        spans: dict[str, tuple[int, int]] = {}
        for one in self.bands:
            low, high = spans.get(one.cube, (one.plane, one.plane))
            spans[one.cube] = min(low, one.plane), max(high, one.plane)
        stored = max((high + 1 - low for low, high in spans.values()), default=0)
        # Values, the numbers of a cube as they are stored, and a band of it as it is worked out.
        return Footprint((4 * len(self.bands) + 2 * stored + 24) * rows * cols + 3 * self.chunk)

    def read(self, bands: Int64, rows: tuple[int, int], cols: tuple[int, int]) -> Float32:
        """See `types.WindowReader`."""
        chosen = [self.bands[place] for place in bands]
        with hdf.reading(self.handle, [self.names[place] for place in bands], rows, cols) as file:
            values = np.empty((len(chosen), rows[1] - rows[0], cols[1] - cols[0]), np.float32)
            for cube in dict.fromkeys(one.cube for one in chosen):
                places = [place for place, one in enumerate(chosen) if one.cube == cube]
                planes = np.array([chosen[place].plane for place in places])
                first, last = int(planes.min()), int(planes.max()) + 1
                window = part(file[f"{_FIELDS}/{cube}"], (slice(*rows), slice(first, last), slice(*cols)))
                for place, plane in zip(places, planes - first, strict=True):
                    values[place] = window[:, plane] * np.float64(chosen[place].scale) + chosen[place].offset
            outside = [
                part(file[f"{_FIELDS}/{one.cube}"], (slice(*rows), one.plane, slice(*cols))) == 0
                for one in self.showing
            ]
        values[:, np.logical_and.reduce(outside)] = np.nan
        return values


@dataclass(frozen=True)
class Prisma:
    """Opens a PRISMA L2D product. Its bands, which are stored by falling wavelength, come by rising wavelength."""

    def accepts(self, address: str) -> bool:
        """Whether it is a local ``.he5`` file of HDF5."""
        return suffix(address) == ".he5" and hdf.is_hdf(address)

    def open(self, address: str, *, crs: str | None = None, mapped: bool = True) -> Opened:
        """See `types.Reader`."""
        handle = Handle.of(address)
        with hdf.opened(address, "PRISMA L2D product") as file:
            listed = [_side(file, side, address) for side in _SIDES]
            shapes = {file[f"{_FIELDS}/{side.upper()}_Cube"].shape[::2] for side in _SIDES}
            if len(shapes) > 1:
                raise _wrong(address, "has cubes of different size", [f"lines and samples: {sorted(shapes)}"])
            size = shapes.pop()
            chunk = max(chunk_bytes(file[f"{_FIELDS}/{side.upper()}_Cube"]) for side in _SIDES)
            geobox = _geobox(file, size, address, crs)
            facts = _facts(file)
        wavelength = np.concatenate([one[0] for one in listed])
        fwhm = np.concatenate([one[1] for one in listed])
        stored = [band for one in listed for band in one[2]]
        names = tuple(f"{band.cube[:4]} {band.plane + 1}" for band in stored)
        spectral = Spectral.of(wavelength.tolist(), "nm", fwhm=fwhm.tolist(), where=redact(address))
        bands, notes = mark_overlaps(spectral.bands(names))
        showing = tuple(stored[int(np.argmin(np.abs(wavelength - at)))] for at in _SHOWING_NM)
        facts["notes"] = ("cells that are zero near 550 and 860 nm are taken as outside the image", *notes)
        reader = _Cubes(handle, tuple(stored), names, showing, size, chunk)
        return Opened(address, bands, geobox, reader, (redact(address),), facts)


def _side(file: h5py.File, side: str, address: str) -> tuple[Float64, Float64, list[_Band]]:
    """Wavelengths, widths and bands of a detector, turned round; bands without a wavelength are not used."""
    name = f"{side.upper()}_Cube"
    wavelength, fwhm = (hdf.numbers(hdf.attribute(file, f"List_{what}_{side}")) for what in ("Cw", "Fwhm"))
    shape = file[f"{_FIELDS}/{name}"].shape
    if len(shape) != 3 or not shape[1] == len(wavelength) == len(fwhm):
        raise _wrong(
            address,
            f"has another number of bands in {name} than wavelengths",
            [f"shape: {shape}; expected: line, band, sample", f"wavelengths: {len(wavelength)}"],
        )
    low, high = (float(hdf.numbers(hdf.attribute(file, f"L2Scale{side}{end}"))[0]) for end in ("Min", "Max"))
    used = np.flatnonzero(wavelength > 0)
    used = used[::-1] if len(used) > 1 and wavelength[used[0]] > wavelength[used[-1]] else used
    bands = [_Band(name, int(plane), (high - low) / _FULL, low) for plane in used]
    return wavelength[used], fwhm[used], bands


def _geobox(file: h5py.File, size: tuple[int, int], address: str, crs: str | None) -> GeoBox:
    """The grid; the corners are centres of cells where that fits the number of cells."""

    def corner(which: str) -> tuple[float, float]:
        names = (f"Product_{which}corner_{axis}" for axis in ("easting", "northing"))
        east, north = (float(hdf.numbers(hdf.attribute(file, name))[0]) for name in names)
        return east, north

    (left, top), (right, bottom) = corner("UL"), corner("LR")
    across, down = (right - left) / _CELL, (top - bottom) / _CELL
    at_edges = abs(across - size[1]) < 0.5 and abs(down - size[0]) < 0.5
    if not at_edges and (abs(across - size[1] + 1) > 1.5 or abs(down - size[0] + 1) > 1.5):
        raise _wrong(
            address,
            "has corners that do not fit its size",
            [f"between the corners: {across:g} x {down:g} cells of 30 m", f"cells: {size[1]} x {size[0]}"],
        )
    shift = 0.0 if at_edges else _CELL / 2
    epsg = int(hdf.numbers(hdf.attribute(file, "Epsg_Code"))[0])
    transform = Affine(_CELL, 0, left - shift, 0, -_CELL, top + shift)
    return GeoBox(size, transform, choose_crs(parse_crs(f"EPSG:{epsg}"), crs, address))


def _facts(file: h5py.File) -> dict[str, Any]:
    found: dict[str, Any] = {
        "quantity": "reflectance",
        "units": "1",
        "sensor": "PRISMA HYC",
        "scale": "reflectance = minimum + stored number / 65535 x (maximum - minimum) (L2Scale of the file)",
    }
    if "Product_StartTime" in file.attrs:
        found["acquired"] = hdf.text(file.attrs["Product_StartTime"])
    if "Sun_zenith_angle" in file.attrs:
        found["sun_zenith_deg"] = float(hdf.numbers(file.attrs["Sun_zenith_angle"])[0])
    return found


def _wrong(address: str, problem: str, details: list[str]) -> InputError:
    return InputError(
        f"{short_name(address, 30)} {problem}",
        code="GS-PRISMA",
        details=[f"file: {redact(address)}", *details],
        hint="check that it is an L2D product as it was delivered",
    )
