"""EnMAP L2A products: reflectance as a GeoTIFF (or ENVI, JPEG 2000) with the bands in a METADATA.XML beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from geosoil.errors import InputError
from geosoil.types import Opened

from .addresses import is_remote, short_name
from .headers import open_raster
from .rasterfile import BandFormat, RasterFile
from .stack import Stack
from .wavelengths import Spectral, mark_overlaps

__all__ = ["EnMAP"]

_IMAGE = re.compile(r"SPECTRAL_IMAGE(_COG)?\.(tiff?|bsq|bil|bip|jp2)$", re.IGNORECASE)
_METADATA = re.compile(r"METADATA\.XML$", re.IGNORECASE)
#: Largest METADATA.XML, bytes.
_MOST = 50 * 2**20
#: Stored number for no data, where the product does not say one.
_NODATA = -32768.0


@dataclass(frozen=True)
class EnMAP:
    """Opens an EnMAP L2A product: its folder, its METADATA.XML or its SPECTRAL_IMAGE.

    The detectors overlap between 902 and 993 nm; there the SWIR detector is used.
    """

    def accepts(self, address: str) -> bool:
        """Whether image and metadata of one product lie there."""
        if is_remote(address):
            return False
        path = Path(address)
        named = _IMAGE.search(path.name) or _METADATA.search(path.name)
        # The files of a stack are passed by without a look at the disk.
        return bool(named or path.suffix.lower() not in {".tif", ".tiff"}) and _files(path) is not None

    def open(self, address: str, *, crs: str | None = None, mapped: bool = True) -> Opened:
        """See `types.Reader`."""
        files = _files(Path(address))
        if files is None:
            raise _wrong(Path(address), "is no EnMAP product", [], "name its folder, with image and METADATA.XML")
        image, metadata = files
        root = _read(metadata)
        _check_level(root, metadata)
        file = open_raster(str(image), crs=crs, mapped=mapped)
        spectral, formats = _bands(root, metadata, file)
        names = [f"B{one.index}" for one in formats]
        bands, notes = mark_overlaps(spectral.bands(names), "longer")
        reader = Stack((replace(file, names=tuple(names), formats=formats),))
        facts = {**_facts(root), "notes": (*spectral.notes, *notes)}
        return Opened(str(image), bands, file.geobox, reader, (str(image), str(metadata)), facts)


def _files(path: Path) -> tuple[Path, Path] | None:
    """Image and metadata of the one product in a folder, or of the product that a file belongs to."""
    if path.is_dir():
        found = [_files(one) for one in path.iterdir() if _METADATA.search(one.name)]
        return found[0] if len(found) == 1 else None
    for own, other in ((_IMAGE, _METADATA), (_METADATA, _IMAGE)):
        name = own.search(path.name)
        if name is None:
            continue
        start = path.name[: name.start()]
        beside = [one for one in path.parent.iterdir() if one.name.startswith(start) and other.search(one.name)]
        beside = [one for one in beside if other.sub("", one.name) == start]
        if len(beside) != 1:
            return None
        return (path, beside[0]) if own is _IMAGE else (beside[0], path)
    return None


def _read(metadata: Path) -> Element:
    try:
        if metadata.stat().st_size > _MOST:
            raise _wrong(metadata, "is too large for metadata", [f"size: {metadata.stat().st_size} bytes"])
        root = parse(metadata).getroot()
    except (ParseError, DefusedXmlException, UnicodeError) as error:
        raise _wrong(metadata, "is no XML that can be read", [f"{type(error).__name__}: {error}"[:200]]) from error
    if root is None:
        raise _wrong(metadata, "is empty", [])
    return root


def _text(root: Element, *paths: str) -> str:
    found = (root.findtext(path) for path in paths)
    return next((text.strip() for text in found if text and text.strip()), "")


def _check_level(root: Element, metadata: Path) -> None:
    level = _text(root, "base/level", "specific/code")
    if level.upper().replace("_", "") not in {"", "L2A", "2A"}:
        raise _wrong(metadata, f"is of level {level[:10]}, and no reflectance", [], "take the L2A product")


def _bands(root: Element, metadata: Path, file: RasterFile) -> tuple[Spectral, tuple[BandFormat, ...]]:
    """Wavelengths and formats from the band characterisation, which has to fit the image."""
    listed = root.findall("specific/bandCharacterisation/bandID")
    if len(listed) != len(file.formats):
        raise _wrong(metadata, "does not describe the bands of its image", [
            f"in the metadata: {len(listed)} bands",
            f"in the image: {len(file.formats)} bands",
        ])  # fmt: skip
    numbers = [_number(one, "bandID", metadata, one.get("number")) for one in listed]
    ordered = [one for _, one in sorted(zip(numbers, listed, strict=True), key=lambda pair: pair[0])]

    def column(name: str, otherwise: float | None = None) -> list[float]:
        return [_number(one, name, metadata, one.findtext(name), otherwise) for one in ordered]

    wavelength, fwhm = column("wavelengthCenterOfBand"), column("FWHMOfBand", 0.0)
    spectral = Spectral.of(wavelength, "nm", fwhm=fwhm if all(fwhm) else (), where=str(metadata))
    background = _text(root, "specific/backgroundValue")
    nodata = float(background) if re.fullmatch(r"-?\d+(\.\d+)?", background) else _NODATA
    formats = tuple(
        replace(one, nodata=nodata if one.nodata is None else one.nodata, scale=gain, offset=offset)
        for one, gain, offset in zip(file.formats, column("GainOfBand", 1e-4), column("OffsetOfBand", 0.0), strict=True)
    )
    return spectral, formats


def _number(band: Element, name: str, metadata: Path, text: str | None, otherwise: float | None = None) -> float:
    try:
        return float(text) if text is not None and text.strip() else _or_fail(otherwise)
    except ValueError as error:
        raise _wrong(
            metadata, f"has no number in {name}", [f"band {band.get('number')}: {(text or 'nothing')[:40]}"]
        ) from error


def _or_fail(otherwise: float | None) -> float:
    if otherwise is None:
        raise ValueError
    return otherwise


def _facts(root: Element) -> dict[str, Any]:
    found: dict[str, Any] = {
        "quantity": "reflectance",
        "units": "1",
        "sensor": "EnMAP HSI",
        "scale": "reflectance = stored number x gain + offset (METADATA.XML)",
    }
    begun = _text(root, "base/temporalCoverage/startTime")
    found.update({"acquired": begun} if begun else {})
    elevation = _text(root, "specific/sunElevationAngle/center")
    if re.fullmatch(r"-?\d+(\.\d+)?", elevation):
        found["sun_zenith_deg"] = 90 - float(elevation)
    return found


def _wrong(path: Path, problem: str, details: list[str], hint: str = "download the product again") -> InputError:
    return InputError(
        f"{short_name(str(path))} {problem}", code="GS-ENMAP", details=[f"file: {path}", *details], hint=hint
    )
