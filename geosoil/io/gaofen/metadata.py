"""The XML file of a product: when it was taken, where the sun stood, where the corners lie."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from geosoil.errors import InputError
from geosoil.io.addresses import short_name

__all__ = ["MOST_BYTES", "Metadata", "read_metadata"]

#: Largest XML file that is read, bytes.
MOST_BYTES = 50 * 2**20

# Deepest nesting, and longest value, of what is no attempt to fill the memory.
_MOST_DEPTH = 200
_MOST_VALUE = 1000

#: The provider's clock is taken as Beijing time; no file says so.
ASSUMED_ZONE = timezone(timedelta(hours=8))

_CORNERS = ("TopLeft", "TopRight", "BottomRight", "BottomLeft")
_TIME = re.compile(r"(\d{4})-(\d\d?)-(\d\d?)[T ]+(\d\d?):(\d\d):(\d\d)(\.\d+)?\s*(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the XML file of a product tells; None for what it does not.

    Attributes
    ----------
    start_time : str or None
        As it stands in the file.
    acquired : str or None
        The same as ISO 8601, with a time zone.
    zone_assumed : bool
        Whether the file names no time zone, so that Beijing time was assumed.
    sun_zenith_deg, sun_azimuth_deg, view_zenith_deg, view_azimuth_deg : float or None
        Angles at the centre, degrees.
    corners : tuple of (float, float)
        Longitude and latitude of the corners: top left, top right, bottom right, bottom left; empty when incomplete.
    centre : (float, float) or None
        Longitude and latitude.
    lines, samples : int or None
        Size of the image.
    resolution_m : float or None
        Ground sampling distance.
    satellite, sensor, scene, product : str or None
        As they stand in the file.
    notes : tuple of str
        Values that were passed over.
    """

    start_time: str | None = None
    acquired: str | None = None
    zone_assumed: bool = False
    sun_zenith_deg: float | None = None
    sun_azimuth_deg: float | None = None
    view_zenith_deg: float | None = None
    view_azimuth_deg: float | None = None
    corners: tuple[tuple[float, float], ...] = ()
    centre: tuple[float, float] | None = None
    lines: int | None = None
    samples: int | None = None
    resolution_m: float | None = None
    satellite: str | None = None
    sensor: str | None = None
    scene: str | None = None
    product: str | None = None
    notes: tuple[str, ...] = ()


def read_metadata(content: bytes, source: str) -> Metadata:
    """Read the XML file of a product; elements are found wherever they stand, and may be absent.

    Parameters
    ----------
    content : bytes
        The file.
    source : str
        What messages call it.

    Raises
    ------
    InputError
        ``GS-XML-SIZE``, ``GS-XML-UNSAFE`` (entities, external references, a bottomless tree), ``GS-XML-BROKEN``.

    >>> text = b"<ProductMetaData><a><SolarZenith>57.5</SolarZenith></a></ProductMetaData>"
    >>> read_metadata(text, "a.xml").sun_zenith_deg
    57.5
    """
    values = _Values(_leaves(content, source), short_name(source))
    start = values.text("StartTime")
    acquired, assumed = _acquired(start, values.notes)
    return Metadata(
        start_time=start,
        acquired=acquired,
        zone_assumed=assumed,
        sun_zenith_deg=values.number("SolarZenith", 0, 180),
        sun_azimuth_deg=values.number("SolarAzimuth", -180, 360),
        view_zenith_deg=values.number("SatelliteZenith", -90, 90),
        view_azimuth_deg=values.number("SatelliteAzimuth", -180, 360),
        corners=_corners(values),
        centre=values.position("Center"),
        lines=values.count("LinesInPixels"),
        samples=values.count("SamplesInPixels"),
        resolution_m=values.number("ImageGSD", 0, 1e5),
        satellite=values.text("SatelliteID"),
        sensor=values.text("SensorID"),
        scene=values.text("SceneID"),
        product=values.text("ProductID"),
        notes=tuple(values.notes),
    )


class _Leaves:
    """A parser's target that keeps the text of the wanted elements and builds no tree."""

    def __init__(self, refuse: Callable[[str], InputError]) -> None:
        self.refuse = refuse
        self.found: dict[str, str] = {}
        self.depth = 0
        self.pieces: list[str] | None = None

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self.depth += 1
        if self.depth > _MOST_DEPTH:
            raise self.refuse(f"elements nested more than {_MOST_DEPTH} deep")
        self.pieces = [] if _local(tag) in _WANTED else None

    def data(self, text: str) -> None:
        if self.pieces is not None and len(self.pieces) < _MOST_VALUE:
            self.pieces.append(text[:_MOST_VALUE])

    def end(self, tag: str) -> None:
        self.depth -= 1
        if self.pieces is not None:
            # The first of several wins: those of the scene stand before those of its parts.
            self.found.setdefault(_local(tag), "".join(self.pieces).strip()[:_MOST_VALUE])
        self.pieces = None

    def close(self) -> dict[str, str]:
        return self.found


_WANTED = frozenset(
    name.lower()
    for name in (
        "StartTime", "SolarZenith", "SolarAzimuth", "SatelliteZenith", "SatelliteAzimuth", "LinesInPixels",
        "SamplesInPixels", "ImageGSD", "SatelliteID", "SensorID", "SceneID", "ProductID",
        *(f"{corner}{axis}" for corner in ("Center", *_CORNERS) for axis in ("Longitude", "Latitude")),
    )
)  # fmt: skip


def _local(tag: str) -> str:
    return tag.rpartition("}")[2].lower()


def _leaves(content: bytes, source: str) -> dict[str, str]:
    def refused(problem: str, code: str, found: str, hint: str = "") -> InputError:
        details = [f"file: {source}", f"found: {found[:200]}"]
        return InputError(f"{short_name(source)} {problem}", code=f"GS-XML-{code}", details=details, hint=hint)

    unsafe = "it looks like a file made to do harm; get the product from its provider again"
    if len(content) > MOST_BYTES:
        raise refused("is too large for the XML of a product", "SIZE", f"more than {MOST_BYTES} bytes", unsafe)
    target = _Leaves(lambda found: refused("is not safe to read", "UNSAFE", found, unsafe))
    try:
        parser = DefusedXMLParser(target=target)
        parser.feed(content)
        parser.close()
    except DefusedXmlException as error:
        raise refused("is not safe to read", "UNSAFE", f"{type(error).__name__}: {error}", unsafe) from error
    except (ParseError, LookupError, UnicodeError) as error:
        raise refused("is no whole XML file", "BROKEN", str(error), "get it again, or move it away") from error
    return target.found


class _Values:
    """The texts of a file as numbers; what cannot be right is noted and passed over."""

    def __init__(self, texts: Mapping[str, str], source: str) -> None:
        self.texts, self.source = texts, source
        self.notes: list[str] = []

    def text(self, name: str) -> str | None:
        return self.texts.get(name.lower()) or None

    def number(self, name: str, low: float, high: float) -> float | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if low <= value <= high:
            return value
        self.notes.append(f"{self.source}: {name} is {text[:40]!r}, not a number of {low:g} to {high:g}: passed over")
        return None

    def count(self, name: str) -> int | None:
        value = self.number(name, 1, 1e6)
        return None if value is None else int(value)

    def position(self, name: str) -> tuple[float, float] | None:
        lon, lat = self.number(f"{name}Longitude", -180, 180), self.number(f"{name}Latitude", -90, 90)
        return None if lon is None or lat is None else (lon, lat)


def _corners(values: _Values) -> tuple[tuple[float, float], ...]:
    found = [values.position(corner) for corner in _CORNERS]
    known = tuple(one for one in found if one is not None)
    return known if len(known) == len(_CORNERS) else ()


def _acquired(text: str | None, notes: list[str]) -> tuple[str | None, bool]:
    """The time as ISO 8601, and whether its zone was assumed."""
    if text is None:
        return None, False
    found = _TIME.match(text)
    try:
        if found is None:
            raise ValueError(text)
        year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
        fraction = round(float(found[7] or 0) * 1e6)
        moment = datetime(year, month, day, hour, minute, second, min(fraction, 999_999), _zone(found[8]))
    except (ValueError, OverflowError):
        notes.append(f"StartTime is {text[:40]!r}, not a time: passed over")
        return None, False
    return moment.isoformat(), found[8] is None


def _zone(text: str | None) -> timezone:
    if text is None:
        return ASSUMED_ZONE
    if text.upper() == "Z":
        return UTC
    sign = -1 if text[0] == "-" else 1
    return timezone(sign * timedelta(hours=int(text[1:3]), minutes=int(text[-2:])))
