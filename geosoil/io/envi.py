"""Cubes as ENVI files, for the programs that correct the atmosphere and want radiance with a header."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

import numpy as np
import odc.geo.xr  # noqa: F401 - gives xarray objects their .odc
import xarray as xr

from geosoil.bands import Bands
from geosoil.errors import OutputError, UsageError, listing
from geosoil.types import PathLike, Progress, as_path, quiet

from .atomic import check_output, replacing
from .calibration import RADIANCE_UNITS
from .enviheader import DTYPES, REASONS
from .reads import read_files

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from geosoil.types import Float32

__all__ = ["FLAASH_UNITS", "write_envi"]

#: Unit of radiance that FLAASH takes.
FLAASH_UNITS = "uW cm-2 sr-1 nm-1"

Interleave: TypeAlias = Literal["bsq", "bil", "bip"]
#: W m-2 sr-1 um-1 divided by this is in the unit.
_DIVISORS = {RADIANCE_UNITS: 1.0, FLAASH_UNITS: 10.0}
#: Types that can be written, with the number that stands for no data.
_NODATA = {"float32": -9999.0, "float64": -9999.0, "int16": -32768, "int32": -9999, "uint16": 65535}
#: Reflectance as whole numbers is multiplied by this.
_USUAL_SCALE = 10_000.0
#: Bytes of a strip of lines.
_STRIP = 128 * 2**20
#: Order of the axes in the file, from (band, y, x).
_AXES = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}


def write_envi(
    path: PathLike,
    scene: xr.DataArray,
    *,
    interleave: Interleave = "bil",
    units: str | None = None,
    scale: float | None = None,
    dtype: str = "float32",
    overwrite: bool = False,
    progress: Progress = quiet,
) -> Path:
    """Write a scene as an ENVI file with its header, strip by strip: whole, or not at all.

    Parameters
    ----------
    path : path
        Data file; the header goes beside it, with the suffix ``.hdr``.
    scene : DataArray
        ``(band, y, x)``, from `open_scene`. NaN becomes the ``data ignore value``.
    interleave : {"bil", "bsq", "bip"}
        Order in the file; BIL is what FLAASH asks for.
    units : str, optional
        Unit of radiance: ``"W m-2 sr-1 um-1"``, the default, or ``"uW cm-2 sr-1 nm-1"`` for FLAASH, a tenth of it.
    scale : float, optional
        Values are multiplied by this, and the header says so. Default: 10,000 for reflectance in whole numbers,
        else 1.
    dtype : {"float32", "float64", "int16", "int32", "uint16"}
        Type of the stored numbers.
    overwrite : bool
        Whether files of these names may be replaced.
    progress : callable
        Called with the lines written, all lines, and a message.

    Returns
    -------
    Path
        The data file.

    Raises
    ------
    OutputError
        ``GS-OUTPUT-EXISTS``, ``GS-OUTPUT-INPUT`` where the scene was opened from that file, ``GS-NOT-WRITABLE``,
        ``GS-NO-SPACE``; ``GS-ENVI-RANGE`` where a value does not fit the type.
    UsageError
        ``GS-ENVI-SETTINGS``.
    """
    path = as_path(path)
    quantity = str(scene.attrs.get("quantity", ""))
    _check_settings(path, interleave, units, scale, dtype, quantity)
    read = read_files(scenes=[scene])
    header = check_output(path.with_suffix(".hdr"), overwrite=overwrite, inputs=read)
    path = check_output(path, overwrite=overwrite, inputs=read)
    usual = _USUAL_SCALE if quantity == "reflectance" and np.dtype(dtype).kind in "iu" else 1.0
    scale = usual if scale is None else scale
    units = (units or RADIANCE_UNITS) if quantity == "radiance" else None
    words = _words(scene, interleave, dtype, scale, units)
    fresh = not path.exists()
    try:
        with replacing(header) as header_part:
            header_part.write_text(words, encoding="utf-8")
            with replacing(path) as part, part.open("wb") as file:
                factor = scale / (_DIVISORS[units] if units else 1.0)
                _write(file, scene, interleave, np.dtype(dtype), factor, progress)
    except BaseException:
        if fresh and not header.exists():
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise
    return path


def _check_settings(
    path: Path, interleave: str, units: str | None, scale: float | None, dtype: str, quantity: str
) -> None:
    problem = ""
    if interleave not in _AXES:
        problem = f"interleave {interleave!r} is not known: {listing(list(_AXES))}"
    elif dtype not in _NODATA:
        problem = f"dtype {dtype!r} is not known: {listing(list(_NODATA))}"
    elif units is not None and units not in _DIVISORS:
        problem = f"units {units[:30]!r} are not known: {listing(list(_DIVISORS))}"
    elif units is not None and quantity != "radiance":
        problem = f"units are those of radiance; the scene holds {quantity or 'something else'}"
    elif scale is not None and not (math.isfinite(scale) and scale > 0):
        problem = f"scale {scale:g} is not above 0"
    elif path.suffix.lower() == ".hdr":
        problem = "the path has to be that of the data file; the header goes beside it"
    if problem:
        raise UsageError(problem, code="GS-ENVI-SETTINGS")


def _write(
    file: BinaryIO, scene: xr.DataArray, interleave: str, dtype: np.dtype[Any], factor: float, progress: Progress
) -> None:
    bands, rows, cols = scene.shape
    for first, last in _strips(scene.shape):
        values = np.asarray(scene.data[:, first:last], np.float32)
        stored = _stored(values, dtype, factor, (first, last))
        if interleave == "bsq":
            for band in range(bands):
                file.seek((band * rows + first) * cols * dtype.itemsize)
                file.write(stored[band].tobytes())
        else:
            file.write(np.ascontiguousarray(stored.transpose(_AXES[interleave])).tobytes())
        progress(last, rows, "writing the cube")


def _strips(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    bands, rows, cols = shape
    step = max(1, _STRIP // max(bands * cols * 4, 1))
    for first in range(0, rows, step):
        yield first, min(first + step, rows)


def _stored(values: Float32, dtype: np.dtype[Any], factor: float, rows: tuple[int, int]) -> NDArray[Any]:
    """Values as they are stored, little endian."""
    nodata, missing = _NODATA[dtype.name], np.isnan(values)
    scaled: NDArray[Any] = values if factor == 1 else values * np.float64(factor)
    if dtype.kind in "iu":
        scaled = np.round(scaled)
        limits = np.iinfo(dtype)
        with np.errstate(invalid="ignore"):
            wrong = (scaled < limits.min) | (scaled > limits.max) | (scaled == nodata)
        if (wrong & ~missing).any():
            worst = float(np.abs(scaled[wrong & ~missing]).max())
            raise OutputError(
                f"values do not fit {dtype.name}",
                code="GS-ENVI-RANGE",
                details=[f"in rows {rows[0]} to {rows[1] - 1} a stored number would be {worst:.6g}"],
                hint="write float32, or take a smaller scale",
            )
    filled = np.where(missing, nodata, scaled)
    return filled.astype(dtype.newbyteorder("<"))


def _words(scene: xr.DataArray, interleave: str, dtype: str, scale: float, units: str | None) -> str:
    """The text of the header."""
    bands, attrs = Bands.of(scene), scene.attrs
    count, rows, cols = scene.shape
    code = next(number for number, name in DTYPES.items() if name == dtype)
    entries: dict[str, str] = {
        "description": "{"
        + _plain(f"{attrs.get('sensor', '')} {attrs.get('quantity', 'scene')} written by geosoil")
        + "}",
        "samples": str(cols),
        "lines": str(rows),
        "bands": str(count),
        "header offset": "0",
        "file type": "ENVI Standard",
        "data type": str(code),
        "interleave": interleave,
        "byte order": "0",
        "data ignore value": repr(_NODATA[dtype]),
        **_map_info(scene.odc.geobox),
        **_meaning(attrs, count, scale, units),
        "band names": _list([_plain(name) for name in bands.names], 5),
    }
    if bands.wavelength_nm:
        entries["wavelength units"] = "Nanometers"
        entries["wavelength"] = _list([repr(one) for one in bands.wavelength_nm])
    if bands.fwhm_nm:
        entries["fwhm"] = _list([repr(one) for one in bands.fwhm_nm])
    if bands.good:
        entries["bbl"] = _list([str(int(one)) for one in bands.good], 40)
    if any(bands.why):
        entries[REASONS] = _list([_plain(one).replace(",", "_") or "-" for one in bands.why], 5)
    return "ENVI\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())


def _meaning(attrs: dict[Any, Any], count: int, scale: float, units: str | None) -> dict[str, str]:
    """What the values are, where and when they were measured."""
    found = {}
    if "quantity" in attrs:
        found["quantity"] = _plain(str(attrs["quantity"]))
    if units:
        found["data units"] = "{" + units + "}"
    if attrs.get("quantity") == "reflectance":
        found["reflectance scale factor"] = f"{scale:g}"
        if attrs.get("level"):
            # An entry of our own, as any program may have: others read past it.
            found["reflectance level"] = _plain(str(attrs["level"]))
    elif scale != 1:
        found["data gain values"] = _list([repr(1 / scale)] * count)
        found["data offset values"] = _list(["0.0"] * count)
    for entry, name in (
        ("sensor type", "sensor"),
        ("solar zenith", "sun_zenith_deg"),
        ("solar azimuth", "sun_azimuth_deg"),
    ):
        if attrs.get(name) not in {None, ""}:
            found[entry] = _plain(str(attrs[name]))
    if attrs.get("acquired"):
        found["acquisition time"] = _plain(_utc(str(attrs["acquired"])))
    return found


def _utc(time: str) -> str:
    """ISO 8601 in UTC, as programs for atmospheric correction read it; a time without a zone, or a day, as it is."""
    try:
        found = datetime.fromisoformat(time)
    except ValueError:
        return time
    return time if found.tzinfo is None else found.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _map_info(grid: GeoBox) -> dict[str, str]:
    """Where the image lies; nothing for one in sensor geometry."""
    if grid.crs is None:
        return {}
    affine, epsg = grid.affine, grid.crs.epsg or 0
    corner = f"1, 1, {affine.c!r}, {affine.f!r}, {affine.a!r}, {-affine.e!r}"
    if 32601 <= epsg <= 32660 or 32701 <= epsg <= 32760:
        half = "North" if epsg < 32700 else "South"
        info = f"{{UTM, {corner}, {epsg % 100}, {half}, WGS-84, units=Meters}}"
    elif epsg == 4326:
        info = f"{{Geographic Lat/Lon, {corner}, WGS-84, units=Degrees}}"
    else:
        info = f"{{Arbitrary, {corner}}}"
    return {"map info": info, "coordinate system string": f"{{{grid.crs.proj.to_wkt('WKT1_ESRI')}}}"}


def _plain(text: str) -> str:
    """Text without what has a meaning in a header."""
    return re.sub(r"\s+", " ", re.sub(r"[{},;=]", "_", text)).strip()


def _list(items: list[str], a_line: int = 10) -> str:
    lines = [", ".join(items[first : first + a_line]) for first in range(0, len(items), a_line)]
    return "{" + ",\n ".join(lines) + "}"
