"""What the text of a VRT tells: whether it may be opened, and what its bands are called after."""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

import rasterio
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from .addresses import is_remote, redact, stem, suffix
from .gdal import open_dataset

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from rasterio.io import DatasetReader

__all__ = ["mosaic_fault", "names_from_sources"]

# Largest VRT that is read as text, bytes.
_MOST = 50 * 2**20
# Mosaics in mosaics that are read: GDAL opens what each shows, anew for each time that it is shown.
_DEEPEST = 6
# GDAL knows a VRT by this among its first bytes, whatever the file is called.
_MARK, _START = b"<VRTDataset", 1024
# Sources of a VRT, and what in them leads to the network.
_SOURCE = re.compile(r"<(Source(?:Filename|Dataset)|SrcDSName)\b([^>]*)>(.*?)</\1>", re.DOTALL | re.IGNORECASE)
_NETWORK = re.compile(r"/vsi(curl|s3|gs|az|adls|oss|swift|hdfs|webhdfs)|://|<GDAL_W|\b(WMS|WMTS|WCS):", re.IGNORECASE)
_RELATIVE = re.compile(r"relativeToVRT\s*=\s*[\"']?1", re.IGNORECASE)


@dataclass(frozen=True)
class _Source:
    """The one band of one file that a band of a VRT shows."""

    file: str
    band: int


def mosaic_fault(path: Path) -> str | None:
    """Why a VRT on the disk is not to be opened; mosaics that it shows are looked into as well.

    GDAL would fetch from the network what nobody has asked for. Mosaics that show each other it reads until it is deep
    enough, and then never closes them.
    """
    return _fault(path.resolve(), (), set())


def _fault(path: Path, above: tuple[Path, ...], good: set[Path]) -> str | None:
    if path in above:
        return f"it shows itself: {' shows '.join(one.name for one in (*above[above.index(path) :], path))}"
    if len(above) == _DEEPEST:
        return f"mosaics show mosaics, more than {_DEEPEST} deep"
    if path.stat().st_size > _MOST:
        return f"a VRT of more than {_MOST} bytes"
    for source in _SOURCE.finditer(path.read_text(encoding="utf-8", errors="replace")):
        name = html.unescape(source[3]).strip()
        if _NETWORK.search(name):
            told = f"it reads from the network: {redact(name)[:200]}; give that address itself"
            return f"{path.name}, which it shows, cannot be read: {told}" if above else told
        other = (path.parent / name if _RELATIVE.search(source[2]) else Path(name)).resolve()
        if other.exists() and not (other.is_file() or other.is_dir()):  # to open a pipe would wait for a writer
            return f"it shows {other.name[:60]}, which is a pipe or a device"
        if other not in good and _is_mosaic(other) and (fault := _fault(other, (*above, path), good)):
            return fault
        good.add(other)
    return None


def _is_mosaic(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _MARK in file.read(_START)
    except (OSError, ValueError):  # a part of a file, or one that is missing: GDAL says so when it is read
        return False


def names_from_sources(dataset: DatasetReader, address: str, indexes: list[int]) -> list[str]:
    """A name for each band: its source's description, else the source's stem as a folder of files gives it.

    Empty for bands with no source or several, for those that are worked out from their source, for names that would
    occur twice, and, in a VRT of one band, for the source's stem: there the VRT's own name is as good.
    """
    written = str(dataset.tags(ns="xml:VRT").get("xml:VRT", "")) if dataset.driver == "VRT" else ""
    if not written or "VRTDerivedRasterBand" in written:
        return [""] * len(indexes)
    written_bands = _bands(written)
    sources = [_lone_source(written_bands.get(index, []), address) for index in indexes]
    described = cache(_descriptions)
    names = []
    for source in sources:
        found = described(source.file) if source is not None else ()
        if source is None:
            names.append("")
        elif source.band <= len(found) and found[source.band - 1]:
            names.append(found[source.band - 1])
        elif len(indexes) == 1:
            names.append("")
        else:
            bands = len(found) or max(one.band for one in sources if one is not None and one.file == source.file)
            names.append(stem(source.file) if bands == 1 else f"{stem(source.file)}_{source.band}")
    counts = Counter(names)
    return [name if counts[name] == 1 else "" for name in names]


def _bands(written: str) -> dict[int, list[Element]]:
    """The sources of each band, from 1, of the VRT as GDAL writes it; its own list of them can end the process."""
    try:
        bands = fromstring(written, forbid_dtd=True).findall("VRTRasterBand")
    except (ParseError, DefusedXmlException):
        return {}
    return {place: [one for one in band if one.tag.endswith("Source")] for place, band in enumerate(bands, start=1)}


def _lone_source(sources: list[Element], address: str) -> _Source | None:
    file = sources[0].find("SourceFilename") if len(sources) == 1 else None
    if file is None:
        return None
    name = (file.text or "").strip()
    # A VRT within the VRT, or a part of a file as in NETCDF:"a.nc":dem, has no stem.
    if "<" in name or re.search(r'^\w{2,}:(?!//)|["?]', name):
        return None
    if file.get("relativeToVRT") == "1":
        name = f"{address.rpartition('/')[0]}/{name}" if is_remote(address) else str(Path(address).parent / name)
    band = (sources[0].findtext("SourceBand") or "").strip()
    return _Source(name, int(band) if band.isdecimal() else 1)


def _descriptions(file: str) -> tuple[str, ...]:
    """Those of a file on the disk; empty where it cannot be asked, as over the network, where each file costs time."""
    # What mosaics show is not asked for: each of theirs would be opened.
    if is_remote(file) or suffix(file) == ".vrt" or not Path(file).is_file():
        return ()
    try:
        with open_dataset(file) as source:
            return tuple((one or "").strip() for one in source.descriptions)
    except (rasterio.errors.RasterioError, OSError):
        return ()  # that it cannot be read is said when it is read
