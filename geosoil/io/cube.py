"""Raster files as GDAL reads them, with the wavelengths of their bands where they have any."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from geosoil.bands import WAVELENGTH_UNITS, Bands
from geosoil.errors import InputError, UsageError
from geosoil.types import Opened, PathLike

from . import enviheader
from .addresses import is_remote, redact, stem
from .calibration import calibrate
from .gaofen.names import join_of
from .headers import Tags, open_told
from .interleave import check_order
from .rasterfile import RasterFile
from .stack import Stack
from .stores import is_store
from .wavelengths import TABLE_HINT, Spectral, band_words, has_wavelengths, mark_overlaps, read_table

__all__ = ["SENSOR_GEOMETRY", "RasterReader", "data_of", "facts_of", "with_settings"]

#: What a scene without a map grid says.
SENSOR_GEOMETRY = "no map grid: y counts lines downwards and x samples, from the upper left; not for mapping"
#: What to do about it.
_NO_MAP_HINT = (
    "it is a cube in sensor geometry: put it on a map first, as geosoil calibrate PRODUCT OUT.tif does without "
    "--no-ortho;\nor warp it by its control points or geolocation with gdalwarp"
)
_WAVELENGTH = r"[\d.]+ ?(nm|[uµμ]m|nanomet(er|re)s?|micro(n|met(er|re))s?)"
#: Wavelength at the end of a name, as GDAL and others write it behind the band's own name; or as all of the name.
_IN_NAME = re.compile(rf"\s*\(\s*{_WAVELENGTH}\s*\)$", re.IGNORECASE)
_AS_NAME = re.compile(_WAVELENGTH, re.IGNORECASE)


@dataclass(frozen=True)
class RasterReader:
    """Opens what GDAL reads: GeoTIFF, ENVI, VRT, JPEG 2000; with wavelengths from the file or a table beside it.

    Attributes
    ----------
    wavelengths : Path, optional
        Table of wavelengths to use instead of what the file says.
    unit : str
        Unit of the file's wavelengths, whatever it says of that; empty where it is to say it.
    scale : float, optional
        Stored numbers are reflectance times this.
    """

    wavelengths: Path | None = None
    unit: str = ""
    scale: float | None = None

    def accepts(self, address: str) -> bool:
        """Whatever is no folder and no store; whether it is a raster shows on opening."""
        return not is_store(address)

    def open(self, address: str, *, crs: str | None = None, mapped: bool = True) -> Opened:
        """See `types.Reader`."""
        address = data_of(address)
        try:
            file, tags = open_told(address, crs=crs, mapped=mapped)
        except InputError as error:
            if error.code == "GS-GRID-MISSING" and self._is_cube(address):
                error.hint = _NO_MAP_HINT
            raise
        words, each = _told(tags, address)
        spectral = self._spectral(file, words, each)
        notes = () if file.geobox.crs is not None else (SENSOR_GEOMETRY,)
        if spectral is None:
            facts: dict[str, Any] = {"notes": notes} if notes else {}
            return Opened(address, Bands(file.names), file.geobox, Stack((file,)), (redact(address),), facts)
        return _cube(file, spectral, words, self.scale, notes)

    def _is_cube(self, address: str) -> bool:
        """Whether an image without a map grid has wavelengths."""
        file, tags = open_told(address, mapped=False)
        try:
            return self._spectral(file, *_told(tags, address)) is not None
        except InputError:
            return True  # it has some, and they are wrong

    def _spectral(
        self, file: RasterFile, words: Mapping[str, str], each: Sequence[Mapping[str, str]]
    ) -> Spectral | None:
        count = len(file.formats)
        table = self.wavelengths or (None if self.unit else _table_beside(file))
        if table is not None:
            return read_table(table, count)
        unit = self.unit or words.get("wavelength units", "")
        return enviheader.spectral_of(
            {**words, "wavelength units": unit}, count, redact(file.handle.address)
        ) or _of_bands(each, file, unit, sure=bool(self.unit))


def data_of(address: str) -> str:
    """The data file, where the header of one is named."""
    if not address.lower().endswith(".hdr") or is_remote(address):
        return address
    path = Path(address)
    if not enviheader.is_header(path):
        return address
    found = enviheader.find_data(path)
    if found is None:
        raise InputError(
            f"{path.name[:40]} has no data file beside it",
            code="GS-FILE-MISSING",
            details=[f"header: {path}"],
            hint="it is the header of a file of the same name, such as .dat, .img, .bsq, .bil or .bip",
        )
    return str(found)


def _told(tags: Tags, address: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """What the file says of itself, and of each band."""
    each = [_band_tags(*pair) for pair in zip(tags.bands, tags.imagery, strict=True) if any(pair)]
    return _words(tags, address), each


def _words(tags: Tags, address: str) -> dict[str, str]:
    """What the file says of itself, names in lower case with blanks; an ENVI header in its own words."""
    words = {**band_words(tags.whole), **band_words(tags.envi)}
    if tags.driver == "ENVI":
        header = None if is_remote(address) else enviheader.find_header(Path(address))
        return {**words, **(enviheader.read_header(header) if header is not None else {})}
    words.pop("byte order", None)
    if "{" not in words.get("wavelength", ""):  # one number for the whole file is some other fact
        words.pop("wavelength", None)
    return words


def _band_tags(tags: Mapping[str, str], imagery: Mapping[str, str]) -> dict[str, str]:
    """Tags of a band; of the domain IMAGERY, which is rounded, only what the others do not tell."""
    found = band_words(tags)
    if "wavelength" not in found and "CENTRAL_WAVELENGTH_UM" in imagery:
        found.update({"wavelength": imagery["CENTRAL_WAVELENGTH_UM"], "wavelength units": "um"})
        found.update({"fwhm": imagery["FWHM_UM"]} if "FWHM_UM" in imagery else {})
    return found


def _of_bands(each: Sequence[Mapping[str, str]], file: RasterFile, unit: str, *, sure: bool) -> Spectral | None:
    """Wavelengths from tags of the bands, whose own unit counts where the file's is not sure; None without any."""
    having = [one for one in each if "wavelength" in one]
    if not having:
        return None
    where = redact(file.handle.address)
    told = [one.get("wavelength units", one.get("wavelength unit", unit)).lower() for one in having]
    units = {unit} if sure else set(told)
    if len(having) < len(file.formats) or len(units) > 1:
        raise InputError(
            "the tags of the bands do not agree on wavelengths",
            code="GS-WAVELENGTH",
            details=[
                f"file: {where}",
                f"{len(having)} of {len(file.formats)} bands have one",
                f"units: {sorted(units)}",
            ],
            hint=f"tag all bands alike, or {TABLE_HINT}",
        )
    lists = {
        name: "{" + ", ".join(one[name] for one in each) + "}"
        for name in ("wavelength", "fwhm", "bbl")
        if all(name in one for one in each)
    }
    found = enviheader.spectral_of({**lists, "wavelength units": units.pop()}, len(each), where)
    return found and replace(found, why=tuple(one.get("why", "") for one in each))


def _table_beside(file: RasterFile) -> Path | None:
    """``<stem>_wavelengths.csv``, or a ``<stem>.csv`` that has wavelengths, beside a local file of several bands."""
    address = file.handle.address
    return None if is_remote(address) or len(file.formats) < 2 else wavelengths_beside(address)


def wavelengths_beside(address: str) -> Path | None:
    """The table of wavelengths beside a local file, be it a cube or not."""
    folder, name = Path(address).parent, stem(address)
    sure, perhaps = folder / f"{name}_wavelengths.csv", folder / f"{name}.csv"
    if sure.is_file():
        return sure
    return perhaps if perhaps.is_file() and has_wavelengths(perhaps) else None


def _cube(
    file: RasterFile, spectral: Spectral, words: Mapping[str, str], scale: float | None, notes: tuple[str, ...]
) -> Opened:
    address = file.handle.address
    known = facts_of(words)
    longer = "enmap" in known.get("sensor", "").lower()
    join = join_of(known.get("sensor", ""))
    bands = spectral.bands(_names(file, words, spectral.wavelength_nm))
    bands, joins = mark_overlaps(bands, "longer" if longer else "middle", join_nm=join)
    check_order(file, bands)
    file, facts = calibrate(file, bands, words, scale)
    facts = {**known, **facts, "notes": (*notes, *spectral.notes, *facts["notes"], *joins)}
    return Opened(address, bands, file.geobox, Stack((file,)), (redact(address),), facts)


def _names(file: RasterFile, words: Mapping[str, str], wavelength_nm: Sequence[float]) -> tuple[str, ...]:
    """The bands' own names, without the wavelengths behind them.

    Bands that are named by their wavelength alone are called like 418.24 nm, those without any name B1, B2 and so on;
    these too where two detectors have the same wavelengths.
    """
    listed = [name.strip() for name in words.get("band names", "").strip("{} \n").split(",")]
    if len(listed) == len(file.names) and len(set(listed)) == len(listed) and all(listed):
        return tuple(listed)
    base = stem(file.handle.address)
    # Bands of an ENVI header without names and units are called after its list of wavelengths by GDAL.
    bare = set(re.findall(r"[\d.]+", words.get("wavelength", "")))
    told = [f"{nm:.6g} nm" for nm in wavelength_nm]
    distinct = len(set(told)) == len(told)
    short = []
    for name, nm, one in zip(file.names, told, file.formats, strict=True):
        by_wavelength = name in bare or _AS_NAME.fullmatch(name)
        if name == f"{base}_{one.index}" or (by_wavelength and not distinct):
            short.append(f"B{one.index}")
        else:
            short.append(nm if by_wavelength else _IN_NAME.sub("", name))
    return tuple(short) if len(set(short)) == len(short) and all(short) else file.names


def facts_of(words: Mapping[str, str]) -> dict[str, Any]:
    """Sensor, level of reflectance, time of acquisition (ISO 8601) and the sun's angles, as far as a header tells them.

    >>> facts_of({"sensor type": "AVIRIS", "acquisition time": "1992-06-12", "sun elevation": "60"})
    {'sensor': 'AVIRIS', 'acquired': '1992-06-12', 'sun_zenith_deg': 30.0}
    """
    found: dict[str, Any] = {}
    sensor = next((words[name] for name in ("sensor", "sensor type", "instrument") if words.get(name)), "")
    if sensor.strip("{} ").lower() not in {"", "unknown"}:
        found["sensor"] = sensor.strip("{} ")
    level = words.get("reflectance level", "").strip("{} ")
    if level:
        found["level"] = level
    acquired = words.get("acquisition time", words.get("acquired", "")).strip("{} ")
    try:
        datetime.fromisoformat(acquired)
        found["acquired"] = acquired
    except ValueError:
        pass
    return {**found, **_sun(words)}


def _sun(words: Mapping[str, str]) -> dict[str, float]:
    """The sun's angles, degrees: from the zenith, and from north."""
    found: dict[str, float] = {}
    for name in ("solar zenith", "sun zenith", "sun elevation", "solar azimuth", "sun azimuth"):
        try:
            angle = float(words.get(name, "").strip("{} "))
        except ValueError:
            continue
        if name.endswith("azimuth"):
            if -180 <= angle <= 360:
                found.setdefault("sun_azimuth_deg", angle)
        elif -90 <= angle <= 90:
            found.setdefault("sun_zenith_deg", 90 - angle if name == "sun elevation" else angle)
    return found


def with_settings(reader: RasterReader, wavelengths: PathLike | None, scale: float | None) -> RasterReader:
    """The reader with what the user says of the file; instead of a table of wavelengths it may be their unit.

    Raises
    ------
    UsageError
        ``GS-SCALE`` where the scale is no divisor.
    """
    if scale is not None and not scale >= 1:
        raise UsageError(
            f"scale {scale:g} is too small",
            code="GS-SCALE",
            details=["stored numbers are divided by the scale to give reflectance"],
            hint="give 10000 for reflectance x 10000, 100 for percent, 1 for reflectance as it is",
        )
    said = None if wavelengths is None else str(wavelengths)
    if said in WAVELENGTH_UNITS:
        return replace(reader, unit=said, scale=scale)
    return replace(reader, wavelengths=None if said is None else Path(said).expanduser(), scale=scale)
