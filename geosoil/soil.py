"""What is mapped: soil properties with their units, depth intervals in cm, and a property at a depth."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise

from .errors import InputError, UsageError, listing

__all__ = [
    "OVERLAP_TOLERANCE_CM",
    "STANDARD_DEPTHS",
    "Depth",
    "Property",
    "Target",
    "convert_unit",
    "parse_depths",
    "properties",
    "property_of",
    "unit_of",
]

# Mass fractions in kg/kg; percent of mass and its namesakes included. UCUM spelling first.
_FRACTIONS = {
    "%": 1e-2,
    "g/kg": 1e-3,
    "dg/kg": 1e-4,
    "mg/kg": 1e-6,
    "ug/kg": 1e-9,
}
_SYNONYMS = {
    "percent": "%", "pct": "%", "wt%": "%", "wt %": "%", "wt.%": "%", "mass%": "%", "%mass": "%", "%w/w": "%",
    "% w/w": "%", "g/100g": "%", "g/100 g": "%",
    "g kg-1": "g/kg", "g.kg-1": "g/kg", "g kg^-1": "g/kg", "gkg-1": "g/kg", "permille": "g/kg",
    "‰": "g/kg", "mg/g": "g/kg", "dg kg-1": "dg/kg",
    "mg kg-1": "mg/kg", "mg.kg-1": "mg/kg", "ppm": "mg/kg", "ug/g": "mg/kg", "µg/g": "mg/kg", "μg/g": "mg/kg",
    "mgkg-1": "mg/kg", "g/t": "mg/kg", "ppb": "ug/kg", "µg/kg": "ug/kg", "μg/kg": "ug/kg", "ng/g": "ug/kg",
    "-": "1", "": "1", "none": "1", "ph": "1", "[ph]": "1", "1": "1", "unitless": "1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Property:
    """A soil property.

    Attributes
    ----------
    code : str
        Lower-case code used in file names, such as ``soc``.
    name : str
        Name for people, such as ``Soil organic carbon``.
    unit : str
        Unit inside geosoil and in every output; ``1`` for none.
    lowest, highest : float
        Values outside are refused.
    usual : (float, float)
        Values outside are warned of.
    transform : str
        Default target transform (see ``prep.target``).
    colours : tuple of str
        Seven map colours from low to high, hexadecimal.
    synonyms : tuple of str
        Further names that sample tables use for it.
    """

    code: str
    name: str
    unit: str
    lowest: float
    highest: float
    usual: tuple[float, float]
    transform: str = "none"
    colours: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.code):
            raise UsageError(
                f"property code {self.code!r} is not usable in file names",
                code="GS-PROPERTY-CODE",
                hint="use lower-case letters, digits and _, beginning with a letter",
            )


@dataclass(frozen=True, slots=True, order=True)
class Depth:
    """An interval below the surface, whole centimetres.

    >>> Depth(0, 5).label, Depth(0, 5).middle_cm
    ('0-5cm', 2.5)
    """

    top_cm: int
    bottom_cm: int

    def __post_init__(self) -> None:
        if not 0 <= self.top_cm < self.bottom_cm:
            raise UsageError(
                f"depth {self.top_cm}-{self.bottom_cm} cm is not an interval",
                code="GS-DEPTH",
                hint="give top and bottom in cm, top above bottom, both from 0 on: 0-5",
            )

    @property
    def label(self) -> str:
        """As in file names: ``0-5cm``."""
        return f"{self.top_cm}-{self.bottom_cm}cm"

    @property
    def middle_cm(self) -> float:
        """Mid-point, cm."""
        return (self.top_cm + self.bottom_cm) / 2

    def __str__(self) -> str:
        return f"{self.top_cm}-{self.bottom_cm} cm"


#: GlobalSoilMap intervals (Arrouays et al. 2014).
STANDARD_DEPTHS: tuple[Depth, ...] = tuple(
    Depth(top, bottom) for top, bottom in ((0, 5), (5, 15), (15, 30), (30, 60), (60, 100), (100, 200))
)


#: Layers of a profile may reach into each other by this much before they overlap: noise of stored depths.
OVERLAP_TOLERANCE_CM = 1e-3


@dataclass(frozen=True, slots=True)
class Target:
    """A property at a depth: what one map shows."""

    soil_property: Property
    depth: Depth

    def stem(self, statistic: str = "mean") -> str:
        """File stem, such as ``soc_0-5cm_mean``."""
        return f"{self.soil_property.code}_{self.depth.label}_{statistic}"

    @property
    def title(self) -> str:
        """For people: ``Soil organic carbon 0-5 cm [g/kg]``."""
        unit = "" if self.soil_property.unit == "1" else f" [{self.soil_property.unit}]"
        return f"{self.soil_property.name} {self.depth}{unit}"


@cache
def properties() -> dict[str, Property]:
    """The declared properties by code, from ``tables/properties.toml``."""
    table = tomllib.loads((files("geosoil") / "tables" / "properties.toml").read_text(encoding="utf-8"))
    found = {}
    for code, row in table["property"].items():
        row = dict(row)
        row["usual"] = tuple(float(v) for v in row["usual"])
        row["colours"] = tuple(row.get("colours", ()))
        row["synonyms"] = tuple(row.get("synonyms", ()))
        found[code] = Property(code=code, **row)
    return found


def property_of(code: str) -> Property:
    """The declared property with this code, in any case; raises UsageError for an unknown one."""
    known = properties()
    if code.lower() in known:
        return known[code.lower()]
    raise UsageError(
        f"property {code!r} is not declared",
        code="GS-PROPERTY-UNKNOWN",
        details=[f"declared: {listing(sorted(known))}"],
        hint=f'declare it in the study file: [properties.{code.lower()}] needs name = "..." and unit_inside = "mg/kg"',
    )


def unit_of(text: str) -> str:
    """The canonical spelling of a unit; raises InputError for an unknown one.

    >>> unit_of("ppm"), unit_of("g kg-1"), unit_of("wt%")
    ('mg/kg', 'g/kg', '%')
    """
    plain = text.strip()
    if plain in _FRACTIONS:
        return plain
    key = re.sub(r"\s+", " ", plain.lower().replace("−", "-").replace("⁻¹", "-1").replace("·", "."))
    key = re.sub(r"\s*(/|\bper\b)\s*", "/", key)
    if key in _FRACTIONS:
        return key
    if key in _SYNONYMS:
        return _SYNONYMS[key]
    raise InputError(
        f"unit {text!r} is not known",
        code="GS-UNIT-UNKNOWN",
        details=["known: %, g/kg, dg/kg, mg/kg, ug/kg, ppm, ppb, g/100g, and - for none"],
        hint="state one of these, or convert the column first",
    )


def convert_unit(unit: str, to: str) -> float:
    """The factor that turns values in `unit` into values in `to`.

    >>> convert_unit("%", "g/kg"), convert_unit("dg/kg", "g/kg")
    (10.0, 0.1)
    """
    source, sink = unit_of(unit), unit_of(to)
    if source == sink:
        return 1.0
    if source in _FRACTIONS and sink in _FRACTIONS:
        # Through the decimal exponents, so that the factor is exact.
        ratio = _FRACTIONS[source] / _FRACTIONS[sink]
        return float(f"{ratio:.12g}")
    raise InputError(
        f"unit {unit!r} does not turn into {to!r}",
        code="GS-UNIT-MISMATCH",
        hint="state the unit that the values are in",
    )


def parse_depths(items: str | Iterable[str | Sequence[float] | Depth]) -> tuple[Depth, ...]:
    """Depth intervals from ``"0-5"``, ``"0-5cm"``, pairs or Depth; sorted, checked for overlaps.

    Raises
    ------
    UsageError
        ``GS-DEPTH`` for what is not an interval of whole cm, and for intervals that overlap.

    >>> parse_depths(["0-5", (5, 15)])
    (Depth(top_cm=0, bottom_cm=5), Depth(top_cm=5, bottom_cm=15))
    >>> [depth.label for depth in parse_depths("0-30, 30-100")]
    ['0-30cm', '30-100cm']
    """
    if isinstance(items, str):
        items = items.split(",")
    found = sorted(item if isinstance(item, Depth) else _depth(item) for item in items)
    if not found:
        raise UsageError("no depth interval is given", code="GS-DEPTH", hint="give at least one: 0-5")
    for above, below in pairwise(found):
        if below.top_cm < above.bottom_cm:
            raise UsageError(
                f"depths {above} and {below} overlap",
                code="GS-DEPTH",
                hint="give intervals that do not overlap",
            )
    return tuple(found)


def _depth(item: str | Sequence[float]) -> Depth:
    """One interval of whole cm."""
    if isinstance(item, str):
        match = re.fullmatch(r"\s*(\d+)\s*[-\u2013_]\s*(\d+)\s*(?:cm)?\s*", item)
        pair: Sequence[float] = [int(edge) for edge in match.groups()] if match else ()
    else:
        pair = item
    try:
        top, bottom = (int(edge) for edge in pair)
        whole = (top, bottom) == tuple(pair)
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise UsageError(f"depth {item!r} is not a pair of whole cm", code="GS-DEPTH", hint="write it as 0-5")
    return Depth(top, bottom)
