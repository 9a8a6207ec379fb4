"""What `geosoil info` found, in plain words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import tomli_w

from geosoil.errors import listing
from geosoil.io.qgis.layer import statistic_in_words
from geosoil.jobs.counts import say_counts
from geosoil.jobs.cubes import describe_cube
from geosoil.jobs.library_info import describe_library
from geosoil.jobs.measured import describe_property, describe_spectra
from geosoil.prep.cars import in_words
from geosoil.report.times import tell_parts
from geosoil.soil import properties

__all__ = ["describe"]

#: Bands and columns that are listed one by one.
_MOST_SHOWN = 40
#: Bands without names of which only the first are listed, and how many of them.
_MANY, _FEW_SHOWN = 20, 5
#: A list as tomli-w writes it, an item a line.
_LIST = re.compile(r"\[\n((?:    .*,\n)+)\]")


def describe(found: Mapping[str, Any]) -> str:
    """The dict of `info` in plain words."""
    say = {
        "model": _model,
        "study": _study,
        "samples": _samples,
        "spectra": _spectra,
        "scene": _scene,
        "layers": _layers,
        "run": _run,
        "terrain": _terrain,
        "product": _product,
        "library": describe_library,
    }
    lines = say[found["kind"]](found)
    return "\n".join([*lines, *([f"picture: {found['picture']}"] if "picture" in found else [])])


def _unit(unit: str) -> str:
    return "" if unit in {"", "1"} else f" in {unit}"


def _model(found: Mapping[str, Any]) -> list[str]:
    west, south, east, north = found["extent"]
    where = f"x {west:.10g} to {east:.10g}, y {south:.10g} to {north:.10g}"
    lines = [
        f"{found['path']}: a {found['model']} model of {', '.join(map(_mapped, found['properties']))}",
        f"model: {_kind(found)}; target transform: "
        + ", ".join(dict.fromkeys(part["transform"]["kind"] for part in found["properties"])),
        f"trained on {found['counts'].get('profiles')} profiles of {found['name']!r}, {found['created']}, "
        f"seed {found['seed']}",
        *say_counts(found["counts"]),
        *([f"profiles lie within {where}, {found['crs']}"] if any(found["extent"]) else []),
        _taken(found),
        *_recipe(found),
    ]
    lines += [f"class band {name}: {listing(codes, 20)}" for name, codes in found["classes"].items()]
    lines += [f"left out {name}: {why}" for name, why in found["selection"].get("dropped", {}).items()]
    for part in found["properties"]:
        lines += _scored(part)
    return [*lines, f"sha256 {found['sha256']}"]


def _recipe(found: Mapping[str, Any]) -> list[str]:
    """How a model of spectra reads and selects, and which bands stay."""
    recipe = found["settings"].get("recipe")
    if recipe is None:
        return []
    fusion = f" made by {recipe['fusion']}" if recipe["fusion"] else ""
    cars = recipe["cars"]
    chosen = "none" if cars is None else in_words(cars)
    kept = ", ".join(f"{code} {len(names)}" for code, names in found["selection"].get("kept", {}).items())
    masks = found["settings"].get("masks", {})
    rules = ", ".join(f"{name} {value:g}" for name, value in masks.items() if isinstance(value, float))
    return [
        f"reads {recipe['spectra']} spectra{fusion}; preprocessing: {', '.join(recipe['steps']) or 'none'}",
        f"selection of features: {chosen}; kept: {kept}",
        *(f"bands: {line}" for line in found["selection"].get("bands", ())),
        *([f"masks of bare soil: {rules}"] if rules else []),
        *(line for line in found["settings"].get("masked", ()) if line.startswith("cannot")),
    ]


def _taken(found: Mapping[str, Any]) -> str:
    """Which bands a model takes; of one of spectra their span, for there are hundreds."""
    count, wavelength = len(found["bands"]), found["wavelength_nm"]
    if wavelength:
        level = f" at the {found['level']}" if found["level"] else ""
        return f"takes reflectance{level} of {count} bands, {min(wavelength):g} to {max(wavelength):g} nm, cell by cell"
    patch = found["patch"]
    return f"takes {count} bands in patches of {patch} x {patch} cells: {', '.join(found['bands'])}"


def _mapped(part: Mapping[str, Any]) -> str:
    """A property with its unit and depths."""
    depths = ", ".join(f"{top}-{bottom}" for top, bottom in part["depths"])
    return f"{part['name'].lower()}{_unit(part['unit'])} at {depths} cm"


def _scored(part: Mapping[str, Any]) -> list[str]:
    """The scores of a property."""
    if not part["scores"]:
        return []
    unit = _unit(part["unit"])
    return [
        f"scores of {part['name'].lower()} from {part['scores'][0]['split']}:",
        *(
            f"  {row['depth']:>12}  n {row['n']:.0f}, RMSE {_score(row['RMSE'], '.3g')}{unit[3:]}, "
            f"R2 {_score(row['R2'], '.2f')}, CCC {_score(row['CCC'], '.2f')}"
            for row in part["scores"]
        ),
    ]


def _kind(found: Mapping[str, Any]) -> str:
    """The model in words, with the numbers that the study gave it."""
    settings = found["settings"].get("model", {})

    def count(key: str, one: str, many: str) -> str:
        number = settings.get(key)
        return "" if number is None else f", {number} {one if number == 1 else many}"

    networks = count("members", "network", "networks")
    return {
        "rf": "a random forest for each depth" + count("trees", "tree", "trees"),
        "cnn": "a patch network for each depth" + networks,
        "mtcnn": "a multi-task patch network with a branch for each depth" + networks,
        "transfer": "depth transfer" + count("frozen", "layer frozen", "layers frozen") + networks,
    }.get(found["model"], str(found["model"]))


def _score(value: float | None, form: str) -> str:
    """A score; some are not defined, as R2 where all values are equal."""
    return "-" if value is None or not math.isfinite(value) else format(value, form)


def _study(found: Mapping[str, Any]) -> list[str]:
    """The study as TOML that geosoil reads again."""
    settings = dict(found["settings"])
    settings["properties"] = {code: _declared(code, one) for code, one in settings["properties"].items()}
    text = _LIST.sub(_on_one_line, tomli_w.dumps(_plain(settings)).strip())
    return [f"# {found['path']}: a study file; all settings, with the defaults filled in", "", text]


def _on_one_line(found: re.Match[str]) -> str:
    return f"[{', '.join(line.strip()[:-1] for line in found[1].splitlines())}]"


def _declared(code: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a property, without those that a property which geosoil knows does not heed."""
    own = {"name", "unit_inside", "lowest", "highest", "colours"} if code in properties() else set()
    return {key: value for key, value in settings.items() if key not in own}


def _plain(value: Any) -> Any:
    """As TOML has it: nothing for what is not set, depths as 0-5."""
    if isinstance(value, Mapping):
        if set(value) == {"top_cm", "bottom_cm"}:
            return f"{value['top_cm']}-{value['bottom_cm']}"
        return {str(key): _plain(one) for key, one in value.items() if one not in (None, {})}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return value


def _samples(found: Mapping[str, Any]) -> list[str]:
    lines = [f"{found['path']}: a table of {found['rows']} rows", *found["notes"]]
    if "geometry" in found:
        shape = found["geometry"]
        where = f"geometries: {listing(shape['types']) or 'none'}, {shape['crs'] or 'no CRS'}"
        if shape["extent"]:
            west, south, east, north = shape["extent"]
            where += f", x {west:.10g} to {east:.10g}, y {south:.10g} to {north:.10g}"
        lines.append(where)
    lines.append("columns:")
    for column in found["columns"]:
        span = f", {column['lowest']:.6g} to {column['highest']:.6g}" if "lowest" in column else ""
        missing = f", {column['missing']} missing" if column["missing"] else ""
        infinite = f", {column['infinite']} infinite" if "infinite" in column else ""
        lines.append(f"  {column['name']} ({column['type']}){span}{missing}{infinite}")
    taken = ", ".join(f"{role} from {name}" for role, name in found["taken"].items())
    lines.append(f"would be taken: {taken or 'no column for id, position or depth is recognised'}")
    if "crs_hint" in found:
        lines.append(f"the names of the coordinates hint at {found['crs_hint']}; it has to be stated: crs in [samples]")
    for one in found["values"]:
        how = ", depths in the headers" if one["wide"] else ""
        lines.append(describe_property(one) + how)
    if not found["values"]:
        lines.append(
            f"no column of a property that geosoil knows ({', '.join(sorted(properties()))}) is recognised; "
            'name it in a study: column = "..." in [properties.CODE]'
        )
    return [*lines, *_lacking(found), *(f"to settle: {problem}" for problem in found["problems"])]


def _spectra(found: Mapping[str, Any]) -> list[str]:
    one = found["spectra"] == 1
    return [f"{found['path']}: {found['spectra']} {'spectrum' if one else 'spectra'}", *describe_spectra(found)]


def _lacking(found: Mapping[str, Any]) -> list[str]:
    """What a study has to say beside such a table."""
    lines = []
    if "x" not in found["taken"] and "geometry" not in found:
        lines.append("no coordinates: name the columns with x and y, or a table of sites: sites in [samples]")
    layered = any(role in found["taken"] for role in ("top", "interval"))
    if found["values"] and not layered and not all(one["wide"] for one in found["values"]):
        lines.append('no depths: name the columns with top and bottom, or state them: depth = "0-20" in [samples]')
    return lines


def _scene(found: Mapping[str, Any]) -> list[str]:
    west, south, east, north = found["extent"]
    lines = [
        f"{found['path']}: {len(found['bands'])} {'band' if len(found['bands']) == 1 else 'bands'} of "
        f"{found['columns']} x {found['rows']} cells",
        *(_map(one) for one in found["maps"][:_MOST_SHOWN]),
    ]
    if found["crs"] is None:
        lines.append("sensor geometry: no map grid; lines and samples as y and x")
    else:
        lines.append(f"cell {found['cell'][0]:g} x {found['cell'][1]:g} {found['units']}, {found['crs_name']}")
        lines.append(f"x {west:.10g} to {east:.10g}, y {south:.10g} to {north:.10g}")
    lines.append(f"{found['bytes'] / 2**20:.1f} MiB as float32")
    if "cube" in found:
        return [*lines, *_stored_alike(found["stored"]), *describe_cube(found["cube"]), *_classes(found["classes"])]
    lines += [
        f"{one['path']} in it is a cube of {one['bands']} bands; ask about it alone: geosoil info {one['path']}"
        for one in found.get("cubes", ())
    ]
    if {band["name"] for band in found["stored"]} != set(found["bands"]):  # a store or an array among the sources
        return [*lines, f"bands: {listing(found['bands'], 20)}", *_classes(found["classes"])]
    unnamed = _is_unnamed(found["stored"])
    if unnamed:
        lines.append(
            "the file tells neither names nor wavelengths of its bands: if it is a hyperspectral cube, name a table of "
            "them: --wavelengths TABLE"
        )
    most = _FEW_SHOWN if unnamed else _MOST_SHOWN
    lines.append("bands:")
    lines += [f"  {_band(band, found['classes'])}" for band in found["stored"][:most]]
    if len(found["stored"]) > most:
        lines.append(f"  and {len(found['stored']) - most} more")
    if found.get("flags"):
        meanings = ", ".join(f"{bit} {name}" for name, bit in found["flags"].items())
        lines.append(f"flags, which add up in a cell: {meanings}; 0 where none is")
    if any(band["made_up"] for band in found["stored"]) and not found["maps"]:
        lines.append("names marked * are made from the file's name: the bands have no description")
    return lines


def _is_unnamed(stored: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a file has so many bands without a name that it may be a cube."""
    return len(stored) >= _MANY and all(band["made_up"] for band in stored)


def _stored_alike(stored: Sequence[Mapping[str, Any]]) -> list[str]:
    """How the bands of a cube are stored, in one line."""
    if not stored:
        return []
    types = dict.fromkeys(str(one["dtype"]) for one in stored)
    nodata = dict.fromkeys(one["nodata"] for one in stored if one["nodata"] is not None)
    gaps = f", no data: {listing([f'{float(one):g}' for one in nodata], 3)}" if nodata else ""
    return [f"stored as {listing(list(types))}{gaps}"]


def _product(found: Mapping[str, Any]) -> list[str]:
    """A product that is still packed."""
    told = found["product"]
    lines = [f"{found['path']}: the packed product {told.get('product', '')}, of {len(told.get('bands', ()))} bands"]
    return [*lines, *describe_cube(told), "to read its values, unpack it first"]


def _classes(names: Sequence[str]) -> list[str]:
    return [f"class bands: {listing(names, 20)}"] if names else []


def _band(band: Mapping[str, Any], classes: Sequence[str]) -> str:
    """A band: how it is stored, and the range of its values."""
    facts = [f"{band['name']}{'*' if band['made_up'] else ''}: {band['dtype']}"]
    if band["nodata"] is not None:
        facts.append(f"nodata {float(band['nodata']):g}")
    if (band["scale"], band["offset"]) != (1, 0):
        shift = "" if band["offset"] == 0 else f" {'+' if band['offset'] > 0 else '-'} {abs(band['offset']):g}"
        facts.append(f"value = stored x {band['scale']:g}{shift}")
    if "lowest" in band:
        facts.append(f"values {band['lowest']:.6g} to {band['highest']:.6g}")
    if band["name"] in classes:
        facts.append("classes")
    elif band["palette"]:
        facts.append("has a colour table: classes? (name it in [scene] classes)")
    return ", ".join(facts)


def _map(tags: Mapping[str, Any]) -> str:
    """A map that geosoil wrote."""
    made = f", made {tags['created']}" if tags.get("created") else ""
    by = f", by a {tags['source']}" if tags.get("source") else ""
    shown = f"{tags['long_name']}, {statistic_in_words(tags['statistic'])}{_unit(tags['units'])}"
    return f"{tags['file']} is a map of geosoil: {shown}{by} (sha256 {tags['model_sha256'][:12]}){made}"


def _layers(found: Mapping[str, Any]) -> list[str]:
    lines = [f"{found['path']}: {len(found['layers'])} layers"]
    for one in found["layers"]:
        kind = f"{one['geometry']}, " if one["geometry"] else ""
        lines.append(f"  {one['name']}: {kind}{one['rows']} rows; columns {listing(one['columns'], 20)}")
    return [*lines, f'a study takes one of them: layer = "{found["layers"][0]["name"]}" in [samples]']


def _terrain(found: Mapping[str, Any]) -> list[str]:
    record = found["record"]
    grid, streams = record["grid"], record["streams"]
    return [
        f"{found['path']}: a run of geosoil terrain",
        f"made {record.get('created', '?')}, by geosoil {record.get('geosoil', '?')}"
        + (f", in {record['seconds']:.1f} s" if "seconds" in record else ""),
        *([f"command: {record['command']}"] if record.get("command") else []),
        f"heights: {record['input'].get('name', '?')}; {grid['columns']} x {grid['rows']} cells",
        f"layers: {listing(list(record['layers']), 20)}",
        f"streams: {streams['reaches']} reaches, {streams['length_km']:.3g} km",
        "settings: " + ", ".join(f"{name} {value}" for name, value in record["settings"].items()),
        *(f"note: {note}" for note in record.get("notes", ())),
    ]


def _run(found: Mapping[str, Any]) -> list[str]:
    record = found["record"]
    grid, tiles, plan = record["grid"], record["tiles"], record.get("plan", {})
    inputs = [str(one.get("name", "a scene in memory")) for one in record.get("inputs", ())]
    lines = [
        f"{found['path']}: a run of geosoil map",
        f"begun {record.get('created', '?')}, by geosoil {record.get('geosoil', '?')}",
        *([f"command: {record['command']}"] if record.get("command") else []),
        f"scene: {listing(inputs, 5)}; {grid['columns']} x {grid['rows']} cells",
        f"bands: {listing(record.get('bands', ()), 20)}",
        *(f"model: {one['name']} (sha256 {one['sha256'][:12]})" for one in record["models"]),
        f"maps: {listing(record['outputs'], 20)}",
        f"tiles: {tiles['made']} made"
        + (f" of {plan['tile_size']} x {plan['tile_size']} cells" if "tile_size" in plan else "")
        + (f"; {tell_parts(record.get('parts', [record]))}" if "seconds" in record else ""),
    ]
    lines += [f"tile {index} could not be made: {why}" for index, why in list(tiles["failed"].items())[:10]]
    unseen = {"error": "were to end the run", "missing": "were left empty"}.get(record.get("unseen", ""), "")
    return [*lines, *([f"cells of classes that training did not see {unseen}"] if unseen else [])]
