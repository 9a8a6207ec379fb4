"""Names of AHSI products and their files, and what is known of each family of sensors."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files

__all__ = [
    "DETECTORS",
    "EXPECTED",
    "Family",
    "Nominal",
    "Side",
    "Stem",
    "families",
    "image_name",
    "join_of",
    "looks_like",
    "side_name",
]

#: Detectors in the order of their bands: visible and near infrared, then short-wave infrared.
DETECTORS = ("VN", "SW")

#: What a delivered archive is unpacked for, as patterns of names.
EXPECTED = (
    "*_AHSI_*.tif",
    "*_AHSI_*.tiff",
    "*_AHSI_*.geotiff",
    "*_AHSI_*.raw",
    "*_AHSI_*.rpb",
    # Not .aux.xml, through which a stranger's file would tell GDAL how to read the image.
    "*_AHSI_*[0-9].xml",
    "*_AHSI_*.jpg",
)

_STEM = (
    r"(?P<family>GF5[AB]?|ZY1[EF])_AHSI_(?P<lon>[EW]\d{1,3}(?:\.\d+)?)_(?P<lat>[NS]\d{1,2}(?:\.\d+)?)"
    r"_(?P<day>\d{8})_(?P<orbit>\d{6})_L1(?P<number>\d+)"
)
_IMAGE = re.compile(rf"(?P<stem>{_STEM})(?:_(?P<label>VN|SW))?\.(?:geotiff|tiff?)", re.IGNORECASE)
_FAMILY = re.compile(r"(?:GF5[AB]?|ZY1[EF])_AHSI_", re.IGNORECASE)
_SIDE = re.compile(
    r"(?P<family>GF5[AB]?|ZY1[EF])_AHSI_(?:(?P<a>VNIR|SWIR)_)?(?P<what>RadCal|Spectralresponse)(?:_(?P<b>VNIR|SWIR))?\.raw",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Stem:
    """What the name of a product says.

    Attributes
    ----------
    text : str
        The name itself.
    family : str
        ``GF5``, ``GF5A``, ``GF5B``, ``ZY1E`` or ``ZY1F``.
    lon, lat : float
        Centre, degrees east and north.
    day : str
        ISO 8601.
    orbit, number : str
        Orbit and product number, digits.
    """

    text: str
    family: str
    lon: float
    lat: float
    day: str
    orbit: str
    number: str


@dataclass(frozen=True, slots=True)
class Side:
    """What a calibration file is: ``gains`` or ``response`` of a detector."""

    family: str
    detector: str
    what: str


@dataclass(frozen=True, slots=True)
class Nominal:
    """A detector as it was built: number of bands, centres of the first and the last, width, nm."""

    bands: int
    first_nm: float
    last_nm: float
    fwhm_nm: float


@dataclass(frozen=True, slots=True)
class Family:
    """A sensor: name, where its detectors meet, windows of bad bands, nm, and the detectors."""

    code: str
    name: str
    join_nm: float
    bad_nm: tuple[tuple[float, float], ...]
    detectors: Mapping[str, Nominal]

    def detector_of(self, bands: int) -> str | None:
        """The detector with so many bands."""
        return next((label for label, one in self.detectors.items() if one.bands == bands), None)


@cache
def families() -> dict[str, Family]:
    """The sensors by code, from ``tables/sensors.toml``."""
    table = tomllib.loads((files("geosoil") / "tables" / "sensors.toml").read_text(encoding="utf-8"))
    return {code: _family(code, table["sensor"][code]) for code in ("GF5", "GF5A", "GF5B", "ZY1E", "ZY1F")}


def join_of(sensor: str) -> float | None:
    """Where the detectors of a sensor meet, nm, by its name or code however it is spelt; None for all others.

    >>> join_of("GF-5 AHSI"), join_of("gf5b_ahsi"), join_of("ZY1E"), join_of("AVIRIS")
    (1005.0, 1009.0, 1009.7, None)
    """
    wanted = _bare(sensor)
    return next((one.join_nm for one in families().values() if wanted in {_bare(one.name), _bare(one.code)}), None)


def _bare(sensor: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", sensor.upper()).removesuffix("AHSI")


def _family(code: str, row: Mapping[str, object]) -> Family:
    row = dict(row)
    detectors = {label: Nominal(**one) for label, one in row.pop("detector").items()}  # type: ignore[attr-defined]
    windows = tuple((float(low), float(high)) for low, high in row.pop("bad_nm"))  # type: ignore[attr-defined]
    return Family(code=code, bad_nm=windows, detectors=detectors, **row)  # type: ignore[arg-type]


def looks_like(name: str) -> bool:
    """Whether a file name begins as all files of a product do.

    >>> looks_like("zy1e_ahsi_VNIR_RadCal.raw"), looks_like("GF2_PMS1.tar.gz")
    (True, False)
    """
    return _FAMILY.match(name) is not None


def image_name(name: str) -> tuple[Stem, str | None] | None:
    """Product and detector (None where unlabelled) of an image's file name; None for any other name.

    >>> stem, label = image_name("GF5B_AHSI_W113.2_N36.3_20221208_006658_L10000252104_sw.TIF")
    >>> stem.family, stem.lon, stem.day, stem.number, label
    ('GF5B', -113.2, '2022-12-08', '0000252104', 'SW')
    """
    found = _IMAGE.fullmatch(name)
    if found is None or (stem := _stem(found, found["stem"])) is None:
        return None
    return stem, found["label"].upper() if found["label"] else None


def side_name(name: str) -> Side | None:
    """What calibration file a name is; None for any other name.

    >>> side_name("GF5B_AHSI_RadCal_VNIR.raw")
    Side(family='GF5B', detector='VN', what='gains')
    """
    found = _SIDE.fullmatch(name)
    if found is None or bool(found["a"]) == bool(found["b"]):
        return None
    part = (found["a"] or found["b"]).upper()
    what = "gains" if found["what"].lower() == "radcal" else "response"
    return Side(found["family"].upper(), part[:2], what)


def _stem(found: re.Match[str], text: str) -> Stem | None:
    digits = found["day"]
    try:
        day = date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).isoformat()
    except ValueError:
        return None
    lon, lat = (float(found[name][1:]) * (-1 if found[name][0].upper() in "WS" else 1) for name in ("lon", "lat"))
    return Stem(text, found["family"].upper(), lon, lat, day, found["orbit"], found["number"])
