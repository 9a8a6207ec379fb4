"""What the bands of a VRT are called after the files that they come from."""

from __future__ import annotations

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

from .addresses import is_remote, stem, suffix
from .gdal import open_dataset

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from rasterio.io import DatasetReader

__all__ = ["names_from_sources"]


@dataclass(frozen=True)
class _Source:
    """The one band of one file that a band of a VRT shows."""

    file: str
    band: int


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
    # A VRT behind the VRT may lead to the network.
    if is_remote(file) or suffix(file) == ".vrt" or not Path(file).is_file():
        return ()
    try:
        with open_dataset(file) as source:
            return tuple((one or "").strip() for one in source.descriptions)
    except (rasterio.errors.RasterioError, OSError):
        return ()  # that it cannot be read is said when it is read
