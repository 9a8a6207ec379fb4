"""EMIT L2A products: reflectance in sensor geometry in a NetCDF file, put on the map through its lookup table."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from affine import Affine
from odc.geo.crs import CRS
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
    from geosoil.types import Float32, Int64

__all__ = ["Emit"]

_CUBE, _ACROSS, _DOWN = "reflectance", "location/glt_x", "location/glt_y"
_BANDS = "sensor_band_parameters"
#: Stored number for no data, where the file does not say one.
_NODATA = -9999.0
#: One number a band.
_LISTS = ("wavelengths", "fwhm", "good_wavelengths")


@dataclass(frozen=True)
class _Swath:
    """Windows of the map, gathered from the swath by a table of samples and lines, counted from 1; 0 is none.

    Attributes
    ----------
    planes : tuple of int
        Bands in the file.
    size : (int, int)
        Rows and columns of the map.
    chunk : int
        Bytes of a chunk of the file.
    """

    handle: Handle
    planes: tuple[int, ...]
    size: tuple[int, int]
    nodata: float
    names: tuple[str, ...] = field(repr=False)
    chunk: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        return len(self.planes), *self.size

    def take(self, positions: list[int]) -> _Swath:
        """See `types.WindowReader`."""
        return replace(
            self,
            planes=tuple(self.planes[place] for place in positions),
            names=tuple(self.names[place] for place in positions),
        )

    def footprint(self, rows: int, cols: int) -> Footprint:
        """See `types.Measured`."""
        spectra = max(self.planes) + 1 - min(self.planes) if self.planes else 0
        # The part of the swath that holds a window, at most twice as large as it where the swath lies aslant; the
        # spectra that are gathered from it, and the bands; a table of places and what is worked out of it.
        return Footprint((4 * (2 * spectra + spectra + 2 * len(self.planes)) + 64) * rows * cols + 3 * self.chunk)

    def read(self, bands: Int64, rows: tuple[int, int], cols: tuple[int, int]) -> Float32:
        """See `types.WindowReader`."""
        values = np.full((len(bands), rows[1] - rows[0], cols[1] - cols[0]), np.nan, np.float32)
        planes = np.asarray(self.planes)[bands]
        with hdf.reading(self.handle, [self.names[place] for place in bands], rows, cols) as file:
            key = slice(*rows), slice(*cols)
            sample, line = (np.asarray(part(file[name], key), np.int64) for name in (_ACROSS, _DOWN))
            inside = (sample != 0) & (line != 0)
            if not inside.any() or not len(planes):
                return values
            sample, line = np.abs(sample[inside]) - 1, np.abs(line[inside]) - 1
            lines, samples = (slice(int(one.min()), int(one.max()) + 1) for one in (line, sample))
            first, last = int(planes.min()), int(planes.max()) + 1
            swath = part(file[_CUBE], (lines, samples, slice(first, last)))
        found = swath[line - lines.start, sample - samples.start][:, planes - first].astype(np.float32)
        found[(found == np.float32(self.nodata)) | ~np.isfinite(found)] = np.nan
        values[:, inside] = found.T
        return values


@dataclass(frozen=True)
class Emit:
    """Opens an EMIT L2A reflectance file; nearest cells, as its lookup table gives them."""

    def accepts(self, address: str) -> bool:
        """Whether it is a local NetCDF file with EMIT's groups."""
        if suffix(address) not in {".nc", ".nc4"} or not hdf.is_hdf(address):
            return False
        try:
            with h5py.File(address, "r") as file:
                return all(name in file for name in (_CUBE, _BANDS, _ACROSS, _DOWN))
        except (OSError, RuntimeError):  # cut off: what opens all NetCDF files will say so
            return False

    def open(self, address: str, *, crs: str | None = None, mapped: bool = True) -> Opened:
        """See `types.Reader`."""
        where = redact(address)
        with hdf.opened(address, "EMIT L2A product") as file:
            lists = {name: hdf.numbers(file[f"{_BANDS}/{name}"]) for name in file[_BANDS] if name in _LISTS}
            shape, size = file[_CUBE].shape, tuple(file[_ACROSS].shape)
            _check_shapes(file, lists, address)
            nodata = hdf.numbers(file[_CUBE].attrs.get("_FillValue", _NODATA))[0]
            geobox = _geobox(file, size, address, crs)
            facts = _facts(file)
            chunk = chunk_bytes(file[_CUBE])
        spectral = Spectral.of(
            lists["wavelengths"].tolist(),
            "nm",
            fwhm=lists["fwhm"].tolist() if "fwhm" in lists else (),
            good=[one != 0 for one in lists.get("good_wavelengths", [])],
            where=where,
        )
        names = tuple(f"B{place}" for place in range(1, shape[2] + 1))
        bands, notes = mark_overlaps(spectral.bands(names))
        facts["notes"] = ("put on the map by the lookup table of the file, nearest cells", *spectral.notes, *notes)
        reader = _Swath(Handle.of(address), tuple(range(shape[2])), geobox.shape.yx, float(nodata), names, chunk)
        return Opened(address, bands, geobox, reader, (where,), facts)


def _check_shapes(file: h5py.File, lists: dict[str, Any], address: str) -> None:
    shape = file[_CUBE].shape
    wrong = {name: len(one) for name, one in lists.items() if len(shape) != 3 or len(one) != shape[2]}
    if "wavelengths" not in lists or wrong:
        raise _wrong(
            address,
            "does not tell the wavelength of each band",
            [f"{_CUBE}: {shape}; expected: line, sample, band", *(f"{name}: {size}" for name, size in wrong.items())],
        )
    if file[_ACROSS].shape != file[_DOWN].shape:
        raise _wrong(address, "has a lookup table of two sizes", [f"{file[_ACROSS].shape}, {file[_DOWN].shape}"])
    most = tuple(int(np.max(np.abs(part(file[name], (slice(None),) * 2)))) for name in (_ACROSS, _DOWN))
    if most[0] > shape[1] or most[1] > shape[0]:
        raise _wrong(address, "has a lookup table that points outside its image", [f"{most} of {shape[1::-1]}"])


def _geobox(file: h5py.File, size: tuple[int, ...], address: str, crs: str | None) -> GeoBox:
    transform = hdf.numbers(hdf.attribute(file, "geotransform"))
    wkt = hdf.text(file.attrs["spatial_ref"]) if "spatial_ref" in file.attrs else ""
    if len(transform) != 6 or transform[1] <= 0 or transform[5] >= 0 or transform[2] or transform[4]:
        raise _wrong(address, "has no north-up grid", [f"geotransform: {transform.tolist()}"])
    found: CRS | None = parse_crs(wkt) if wkt else None
    return GeoBox((size[0], size[1]), Affine.from_gdal(*transform), choose_crs(found, crs, address))


def _facts(file: h5py.File) -> dict[str, Any]:
    found: dict[str, Any] = {
        "quantity": "reflectance",
        "units": "1",
        "sensor": "EMIT",
        "scale": "reflectance as stored",
    }
    if "time_coverage_start" in file.attrs:
        found["acquired"] = hdf.text(file.attrs["time_coverage_start"])
    return found


def _wrong(address: str, problem: str, details: list[str]) -> InputError:
    return InputError(
        f"{short_name(address, 30)} {problem}",
        code="GS-EMIT",
        details=[f"file: {redact(address)}", *details],
        hint="check that it is an L2A reflectance file as it was delivered",
    )
