"""Which column of a sample table is what: units and depths in headers, synonyms, and what is ambiguous."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from geosoil.errors import InputError, UsageError, listing
from geosoil.soil import Property, properties, unit_of

__all__ = ["Header", "ValueColumns", "find_role", "find_values", "parse_header"]

#: Unit as the end of a header in snake case.
_UNIT_SUFFIXES = {
    "wt_pct": "%", "pct": "%", "percent": "%", "perc": "%", "g_per_100g": "%", "g_100g": "%",
    "g_per_kg": "g/kg", "g_kg_1": "g/kg", "g_kg": "g/kg", "gkg": "g/kg", "permille": "g/kg", "mg_per_g": "g/kg",
    "dg_per_kg": "dg/kg", "dg_kg_1": "dg/kg", "dg_kg": "dg/kg",
    "mg_per_kg": "mg/kg", "mg_kg_1": "mg/kg", "mg_kg": "mg/kg", "mgkg": "mg/kg", "ppm": "mg/kg",
    "ug_per_g": "mg/kg", "ug_g": "mg/kg", "g_per_t": "mg/kg",
    "ug_per_kg": "ug/kg", "ug_kg": "ug/kg", "ng_per_g": "ug/kg", "ng_g": "ug/kg", "ppb": "ug/kg",
    "cm": "cm", "mm": "mm", "m": "m",
}  # fmt: skip
#: Length units in cm.
LENGTHS = {"cm": 1.0, "m": 100.0, "mm": 0.1}
_UNIT = re.compile(f"^(.+?)_({'|'.join(sorted(_UNIT_SUFFIXES, key=len, reverse=True))})$")
_DEPTH = re.compile(r"^(.+?)_(\d+)_(?:to_)?(\d+)(?:_?cm)?(?:_mean)?$")

_BRACKETS = re.compile(r"[\s_]*[\[(][^\[\]()]*[\])]\s*$")
_DATUM = re.compile(r"(gda94|gda2020|wgs84|nad27|nad83|etrs89|decimaldegrees|degrees|decimal|deg|dd)$")
#: CRS that a datum in a header stands for: a hint, never an assumption.
DATUM_CRS = {"gda94": "EPSG:4283", "gda2020": "EPSG:7844", "nad27": "EPSG:4267", "nad83": "EPSG:4269",
             "etrs89": "EPSG:4258"}  # fmt: skip

#: Names of coordinate columns that belong together, east and north.
_PAIRS = (
    ("lon", "lat"), ("long", "lat"), ("lng", "lat"), ("longitude", "latitude"),
    ("decimallongitude", "decimallatitude"), ("x", "y"), ("xcoord", "ycoord"), ("coordx", "coordy"),
    ("xcoordinate", "ycoordinate"), ("pointx", "pointy"), ("easting", "northing"), ("eastings", "northings"),
    ("east", "north"), ("utmeasting", "utmnorthing"), ("utmx", "utmy"), ("utme", "utmn"),
)  # fmt: skip
_DEGREES = {name for pair in _PAIRS[:5] for name in pair}
#: Names by role, without case and underscores; an earlier group wins over a later one.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "id": (
        "profile profileid profilecode pedon pedonid pedonkey peiid idprof",
        "site siteid sitecode plot plotid point pointid pointcode station stationid location locationid locid",
        "id sid pid uid code",
        "sample sampleid sampleno samplecode",
    ),
    "x": (" ".join(east for east, _ in _PAIRS),),
    "y": (" ".join(north for _, north in _PAIRS),),
    "top": (
        "top topdepth depthtop upper upperdepth depthupper upperlimit upperboundary hzdept hzdeptr ud udep udepth "
        "from depthfrom fromdepth depthstart startdepth mindepth depthmin layertop horizontop hortop uhdicm",
    ),
    "bottom": (
        "bottom bottomdepth depthbottom lower lowerdepth depthlower lowerlimit lowerboundary hzdepb hzdepbr ld "
        "ldep ldepth to depthto todepth depthend enddepth maxdepth depthmax layerbottom horizonbottom horbottom "
        "lhdicm",
    ),
    "property": ("property parameter analyte variable attribute element soilproperty",),
    "value": ("value val result measurement measuredvalue observedvalue resultvalue",),
    "unit": ("unit units uom valueunit unitofmeasure",),
    "interval": ("depth depthinterval interval layerdepth depthrange",),
    "limit": ("limit detectionlimit limitofdetection lod dl",),
}
#: Further stems that stand for a property only where the header names an interval, as in ``c_0_5``.
_WIDE_STEMS = {"soc": ("c",)}
#: Ends of a column that flags the cells of another one as below detection.
FLAGS = ("belowdl", "belowdetection", "belowdetectionlimit", "belowlod", "bdl", "censored")
#: Organic matter and organic carbon turn into each other by a stated factor.
_TWIN = {"soc": "som", "som": "soc"}


@dataclass(frozen=True, slots=True)
class Header:
    """A column name, taken apart.

    Attributes
    ----------
    text : str
        As in the table.
    stem : str
        Without unit and depth, lower case, no separators.
    unit : str or None
        Canonical unit of mass fraction, or a length unit.
    interval : (int, int) or None
        Depth in cm.
    """

    text: str
    stem: str
    unit: str | None = None
    interval: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class ValueColumns:
    """Where the values of a property are.

    Attributes
    ----------
    headers : tuple of Header
        One column, or one for each interval.
    wide : bool
        Whether the depth is in the headers.
    listed : bool
        Whether the column holds several properties, named row by row in another column.
    code : str
        What the column holds: the property, or its twin (organic matter for carbon).
    """

    headers: tuple[Header, ...]
    wide: bool
    listed: bool
    code: str


def parse_header(text: str) -> Header:
    """Take a column name apart.

    >>> parse_header("SOC [g/kg]")
    Header(text='SOC [g/kg]', stem='soc', unit='g/kg', interval=None)
    >>> parse_header("soc_0-10_pct")
    Header(text='soc_0-10_pct', stem='soc', unit='%', interval=(0, 10))
    >>> parse_header("pH (H2O)").stem
    'phh2o'
    """
    name, unit = _bracket(text.strip())
    name = re.sub(r"[^0-9a-z]+", "_", name.lower().replace("%", "_pct ").replace("µ", "u").replace("μ", "u"))
    name = name.strip("_")
    name, interval = _depth(name)
    if unit is None and (match := _UNIT.match(name)):
        name, unit = match.group(1), _UNIT_SUFFIXES[match.group(2)]
    if interval is None:
        name, interval = _depth(name)
    return Header(text, name.replace("_", ""), unit, interval)


def _bracket(text: str) -> tuple[str, str | None]:
    """A unit in brackets at the end; brackets that hold something else stay part of the name."""
    match = re.match(r"^(.*?)[\s_]*[\[(]\s*([^\[\]()]+?)\s*[\])]$", text)
    if match is None:
        return text, None
    inside = match.group(2)
    if inside.lower() in LENGTHS:
        return match.group(1), inside.lower()
    try:
        return match.group(1), unit_of(inside)
    except InputError:
        return text, None


def _depth(name: str) -> tuple[str, tuple[int, int] | None]:
    match = _DEPTH.match(name)
    if match is None or int(match.group(2)) >= int(match.group(3)):
        return name, None
    return match.group(1), (int(match.group(2)), int(match.group(3)))


def find_role(headers: Sequence[Header], role: str, given: str | None, where: str) -> Header | None:
    """The column for a role such as ``top``: the one that the caller names, else the one recognised, else None.

    Raises
    ------
    InputError
        ``GS-COLUMN-MISSING`` for a named column that is not there, ``GS-COLUMN-AMBIGUOUS`` for several candidates.
    """
    if given is not None:
        return named(headers, given, where)
    for group in SYNONYMS[role]:
        names = set(group.split())
        candidates = [h for h in headers if h.interval is None and _plain(h, role) in names]
        if len(candidates) > 1:
            raise ambiguous(role, role, candidates, where)
        if candidates:
            return candidates[0]
    return None


def _plain(header: Header, role: str) -> str:
    return _DATUM.sub("", header.stem) if role in ("x", "y") else header.stem


def find_position(
    headers: Sequence[Header], x: str | None, y: str | None, where: str
) -> tuple[Header | None, Header | None]:
    """The two coordinate columns: those named, else a pair such as ``lon_gda94, lat_gda94`` or ``x_m, y_m``.

    Raises
    ------
    InputError
        ``GS-COLUMN-AMBIGUOUS`` where several pairs could be meant.
    """
    if x is None and y is None:
        kinds = [(h, _plain(h, "x"), h.unit, h.stem.removeprefix(_plain(h, "x"))) for h in headers if not h.interval]
        pairs = [
            (east, north)
            for east, first, *rest in kinds
            for north, second, *same in kinds
            if (first, second) in _PAIRS and rest == same
        ]
        if len(pairs) > 1:
            raise ambiguous("the position", "x and y, x", [h for pair in pairs for h in pair], where)
        if pairs:
            return pairs[0]
    return find_role(headers, "x", x, where), find_role(headers, "y", y, where)


def datum(header: Header) -> str | None:
    """The CRS that a header such as ``lon_gda94`` hints at."""
    match = _DATUM.search(header.stem)
    return DATUM_CRS.get(match.group(1)) if match else None


def is_geographic(header: Header) -> bool:
    """Whether a header says longitude or latitude."""
    return _plain(header, "x") in _DEGREES


def is_sample_id(header: Header) -> bool:
    """Whether a header says that it numbers samples, which may be the layers of a profile."""
    return header.stem in SYNONYMS["id"][-1].split()


def named(headers: Sequence[Header], name: str, where: str) -> Header:
    """The column of this name; case matters only where it has to."""
    exact = [h for h in headers if h.text == name]
    found = exact or [h for h in headers if h.text.lower() == name.lower()]
    if len(found) == 1:
        return found[0]
    close = get_close_matches(name, [h.text for h in headers], n=1)
    raise InputError(
        f"{where} has no column {name!r}",
        code="GS-COLUMN-MISSING",
        details=[f"columns: {listing([h.text for h in headers], 20)}"],
        hint=f"did you mean {close[0]!r}?" if close else "",
    )


def ambiguous(what: str, setting: str, candidates: Iterable[Header], where: str) -> InputError:
    """Error that names the columns which could all be meant."""
    names = [h.text for h in candidates]
    return InputError(
        f"{where}: {len(names)} columns could be {what}",
        code="GS-COLUMN-AMBIGUOUS",
        details=[f"candidates: {listing(names)}"],
        hint=f"name the one to use: {setting} = {names[0]!r}",
    )


def names_of(soil_property: Property) -> set[str]:
    """The stems that stand for a property."""
    texts = (soil_property.code, soil_property.name, *soil_property.synonyms)
    return {re.sub(r"[^0-9a-z]+", "", text.lower()) for text in texts}


def twin_of(soil_property: Property) -> Property | None:
    """Organic matter for organic carbon, and the other way round."""
    return properties().get(_TWIN.get(soil_property.code, ""))


def find_values(
    headers: Sequence[Header], soil_property: Property, column: str | None, *, layered: bool, where: str
) -> ValueColumns:
    """The column, or the columns by depth, with the values of a property.

    Parameters
    ----------
    headers : sequence of Header
        Columns that have no other role.
    soil_property : Property
        What is looked for.
    column : str, optional
        Name of the column, or a template such as ``c_{top}_{bottom}``.
    layered : bool
        Whether the table has depth columns; then a column without depth in its name is preferred.
    where : str
        How messages call the table.

    Raises
    ------
    InputError
        ``GS-COLUMN-MISSING``, ``GS-COLUMN-AMBIGUOUS``.
    """
    if column is not None:
        return _stated_values(headers, soil_property, column, layered, where)
    for known in (soil_property, twin_of(soil_property)):
        found = _recognised(headers, known, layered, where) if known else None
        if found is not None:
            return found
        value = find_role(headers, "value", None, where) if known is soil_property else None
        if value is not None:
            return ValueColumns((value,), wide=False, listed=True, code=soil_property.code)
    bare = [h.text for h in headers if parse_header(_BRACKETS.sub("", h.text)).stem in names_of(soil_property)]
    raise InputError(
        f"{where} has no column for {soil_property.name.lower()}",
        code="GS-COLUMN-MISSING",
        details=[
            f"columns: {listing([h.text for h in headers], 20)}",
            *(f"{text!r} looks like it, but what its brackets hold is not a known unit" for text in bare),
        ],
        hint=f'name it: column = "..." (property {soil_property.code})',
    )


def _recognised(headers: Sequence[Header], known: Property, layered: bool, where: str) -> ValueColumns | None:
    names = names_of(known)
    single = [h for h in headers if h.interval is None and h.stem in names]
    wide = [h for h in headers if h.interval and h.stem in names | set(_WIDE_STEMS.get(known.code, ()))]
    groups = {(h.stem, h.unit) for h in wide}
    if layered and single:
        wide, groups = [], set()
    if len(single) + len(groups) > 1:
        raise ambiguous(f"{known.name.lower()} ({known.code})", "column", [*single, *wide], where)
    if not single and not wide:
        return None
    return ValueColumns(tuple(single or wide), wide=bool(wide), listed=False, code=known.code)


def _stated_values(
    headers: Sequence[Header], soil_property: Property, column: str, layered: bool, where: str
) -> ValueColumns:
    template = "{top}" in column or "{bottom}" in column
    found = _by_template(headers, column, where) if template else (named(headers, column, where),)
    twin = twin_of(soil_property)
    is_twin = twin is not None and all(h.stem in names_of(twin) for h in found)
    return ValueColumns(
        found,
        wide=template or (found[0].interval is not None and not layered),
        listed=found[0].stem in SYNONYMS["value"][0].split(),
        code=twin.code if twin is not None and is_twin else soil_property.code,
    )


def _by_template(headers: Sequence[Header], template: str, where: str) -> tuple[Header, ...]:
    """Columns that a template such as ``c_{top}_{bottom}`` stands for, with the depths it finds."""
    if template.count("{top}") != 1 or template.count("{bottom}") != 1:
        raise UsageError(
            f"column template {template!r} needs {{top}} and {{bottom}} once each", code="GS-COLUMN-TEMPLATE"
        )
    pattern = re.escape(template).replace(r"\{top\}", r"(?P<top>\d+)").replace(r"\{bottom\}", r"(?P<bottom>\d+)")
    found = []
    for header in headers:
        if match := re.fullmatch(pattern, header.text):
            interval = (int(match["top"]), int(match["bottom"]))
            found.append(Header(header.text, header.stem, header.unit, interval))
    if not found:
        raise InputError(
            f"{where} has no column like {template!r}",
            code="GS-COLUMN-MISSING",
            details=[f"columns: {listing([h.text for h in headers], 20)}"],
        )
    return tuple(found)
