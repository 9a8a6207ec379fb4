"""Styles, metadata and projects by their structure; tests/qgis opens them in the real QGIS."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
from rasterio.transform import from_origin

from geosoil.errors import InputError, OutputError, UsageError
from geosoil.io.qgis import MapLayer, class_breaks, write_project, write_samples
from geosoil.io.qgis.breaks import rounded_breaks
from geosoil.io.qgis.style import DEFAULT_COLOURS, GREYS
from geosoil.io.stac import write_item
from geosoil.soil import STANDARD_DEPTHS, Depth, Property, Target, properties, property_of

UTM = "EPSG:32755"
SHAPE = (40, 60)


def write_map(folder: Path, target: Target, statistic: str, values: np.ndarray, crs: str = UTM) -> MapLayer:
    """A map as geosoil writes them: one band, NaN for none, statistics and tags."""
    path = folder / f"{target.stem(statistic)}.tif"
    transform = from_origin(740000, 6690000, 90, 90)
    if rasterio.crs.CRS.from_user_input(crs).is_geographic:
        transform = from_origin(149.0, -30.0, 0.001, 0.001)
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1, dtype="float32",
        nodata=np.nan, crs=crs, transform=transform,
    ) as file:  # fmt: skip
        file.write(values.astype(np.float32), 1)
        good = values[np.isfinite(values)]
        if good.size:
            file.update_tags(
                1, STATISTICS_MINIMUM=str(good.min()), STATISTICS_MAXIMUM=str(good.max()),
                STATISTICS_MEAN=str(good.mean()), STATISTICS_STDDEV=str(good.std()),
            )  # fmt: skip
        file.update_tags(created="2026-01-02T03:04:05Z", model_sha256="ab" * 32, source="rf model 'a' on 9 profiles")
    return MapLayer(path, target, statistic)


def soil_values(level: float, seed: int = 0) -> np.ndarray:
    """Skewed values about a level, with a corner of no data."""
    values = level * np.exp(np.random.default_rng(seed).normal(scale=0.4, size=SHAPE))
    values[:8, :8] = np.nan
    return values


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, list[MapLayer]]:
    """A folder with six depths of SOC, each with bounds, and two of lead; given in no order."""
    folder = tmp_path / "Böden ü 1"
    folder.mkdir()
    soc, lead = property_of("soc"), property_of("pb")
    layers = []
    for place, depth in reversed(list(enumerate(STANDARD_DEPTHS))):
        target = Target(soc, depth)
        level = 20 * 0.6**place
        layers += [
            write_map(folder, target, "mean", soil_values(level, place)),
            write_map(folder, target, "Q0.95", soil_values(1.5 * level, place)),
            write_map(folder, target, "uncertainty", soil_values(0.5, place)),
        ]
    layers.append(write_map(folder, Target(soc, STANDARD_DEPTHS[0]), "aoa", (soil_values(1.0) > 1).astype(float)))
    layers += [write_map(folder, Target(lead, depth), "mean", soil_values(60)) for depth in STANDARD_DEPTHS[1::-1]]
    return folder, layers


@pytest.fixture
def points() -> gpd.GeoDataFrame:
    frame = {"profile": ["a", "b"], "observed": [10.0, 20.0], "predicted": [11.0, 19.0], "fold": [0, 1]}
    frame |= {"depth": ["0-5 cm"] * 2, "unit": ["g/kg"] * 2, "remark": ["", "near the creek"]}
    return gpd.GeoDataFrame(frame, geometry=gpd.points_from_xy([149.51, 149.52], [-29.9, -29.91]), crs="EPSG:4326")


def document(project: Path) -> ET.Element:
    with zipfile.ZipFile(project) as archive:
        assert archive.namelist() == ["maps.qgs"]
        return ET.fromstring(archive.read("maps.qgs"))  # noqa: S314  # our own file


def root_of(path: Path) -> ET.Element:
    return ET.parse(path).getroot()  # noqa: S314  # our own file


def items_of(root: ET.Element) -> list[tuple[float, str, str]]:
    return [(float(one.get("value", "")), one.get("color", ""), one.get("label", "")) for one in root.iter("item")]


def group_names(element: ET.Element) -> list[str]:
    return [child.get("name", "") for child in element if child.tag.startswith("layer-tree-")]


def test_a_group_a_property_with_depths_from_shallow_to_deep(
    run: tuple[Path, list[MapLayer]], points: gpd.GeoDataFrame
) -> None:
    folder, layers = run
    samples = write_samples(folder / "samples.gpkg", points, UTM)
    tree = document(write_project(folder, layers, title="Maps", samples=samples)).find("layer-tree-group")
    assert tree is not None
    assert group_names(tree) == ["Samples", "Soil organic carbon [g/kg]", "Lead [mg/kg]"]
    soc, lead = tree.findall("layer-tree-group")
    assert group_names(soc) == [
        "Soil organic carbon 0-5 cm, area of applicability",
        *(f"Soil organic carbon {depth}" for depth in STANDARD_DEPTHS),
        "Uncertainty",
    ]
    assert group_names(lead) == ["Lead 0-5 cm", "Lead 5-15 cm"]


def test_only_the_top_depth_of_the_first_property_is_shown(run: tuple[Path, list[MapLayer]]) -> None:
    folder, layers = run
    root = document(write_project(folder, layers, title="Maps"))
    nodes = root.findall("./layer-tree-group//layer-tree-layer")
    shown = [node.get("name") for node in nodes if node.get("checked") == "Qt::Checked"]
    assert shown == ["Soil organic carbon 0-5 cm, area of applicability", "Soil organic carbon 0-5 cm"]
    groups = root.findall("./layer-tree-group//layer-tree-group")
    assert [group.get("expanded") for group in groups] == ["1", "0", "0"]


def test_depths_and_quantiles_share_their_classes(run: tuple[Path, list[MapLayer]]) -> None:
    folder, layers = run
    write_project(folder, layers, title="Maps")
    styles = {
        layer.path.stem: items_of(root_of(layer.path.with_suffix(".qml")))
        for layer in layers
        if layer.statistic in {"mean", "Q0.95"}
    }
    soc = [style for stem, style in styles.items() if stem.startswith("soc")]
    assert len(soc) == 12
    assert all(style == soc[0] for style in soc)
    assert styles["pb_0-5cm_mean"] != soc[0]
    bounds = [value for value, _, _ in soc[0]]
    assert bounds == sorted(bounds)
    assert np.isinf(bounds[-1])
    assert all(label.endswith(" g/kg") for _, _, label in soc[0])
    assert [colour for _, colour, _ in soc[0]] == [f"#{colour}" for colour in property_of("soc").colours]


def test_the_project_holds_the_style_that_is_beside_each_map(run: tuple[Path, list[MapLayer]]) -> None:
    folder, layers = run
    root = document(write_project(folder, layers, title="Maps"))
    maps = {one.findtext("datasource", ""): one for one in root.iter("maplayer")}
    for layer in layers:
        beside = root_of(layer.path.with_suffix(".qml"))
        inside = maps[f"./{layer.path.name}"]
        assert items_of(inside) == items_of(beside)
        assert inside.find("pipe/rasterrenderer").get("type") == beside.find("pipe/rasterrenderer").get("type")  # type: ignore[union-attr]


def test_applicability_greys_out_what_is_outside(run: tuple[Path, list[MapLayer]]) -> None:
    folder, layers = run
    write_project(folder, layers, title="Maps")
    renderer = root_of(folder / "soc_0-5cm_aoa.qml").find("pipe/rasterrenderer")
    assert renderer is not None
    assert renderer.get("type") == "paletted"
    entries = {entry.get("value"): entry.attrib for entry in renderer.iter("paletteEntry")}
    assert entries["0"]["color"] == "#f2f2f2"
    assert (entries["0"]["alpha"], entries["1"]["alpha"]) == ("190", "0")


def test_a_depth_is_an_elevation_below_the_surface(run: tuple[Path, list[MapLayer]]) -> None:
    folder, layers = run
    write_project(folder, layers, title="Maps")
    elevation = root_of(folder / "soc_5-15cm_mean.qml").find("elevation")
    assert elevation is not None
    assert (elevation.get("lower"), elevation.get("upper")) == ("-0.15", "-0.05")
    assert (elevation.get("includeLower"), elevation.get("includeUpper")) == ("0", "1")


def test_paths_are_relative_and_ids_unique(run: tuple[Path, list[MapLayer]], points: gpd.GeoDataFrame) -> None:
    folder, layers = run
    below = folder / "more"
    below.mkdir()
    layers.append(write_map(below, Target(property_of("cu"), Depth(0, 30)), "mean", soil_values(20)))
    root = document(
        write_project(folder, layers, title="Maps", samples=write_samples(folder / "samples.gpkg", points, UTM))
    )
    sources = [one.findtext("datasource", "") for one in root.iter("maplayer")]
    assert "./more/cu_0-30cm_mean.tif" in sources
    assert "./samples.gpkg|layername=samples" in sources
    assert all((folder / source.partition("|")[0]).is_file() for source in sources)
    assert str(folder) not in ET.tostring(root, encoding="unicode")
    ids = [one.findtext("id") for one in root.iter("maplayer")]
    assert len(set(ids)) == len(layers) + 1
    assert {node.get("id") for node in root.findall("./layer-tree-group//layer-tree-layer")} == set(ids)


@pytest.mark.parametrize("crs", [UTM, "EPSG:4326", "+proj=laea +lat_0=-30 +lon_0=149 +ellps=bessel +units=m +type=crs"])
def test_the_crs_is_written_as_wkt2_with_its_code_where_it_has_one(tmp_path: Path, crs: str) -> None:
    layer = write_map(tmp_path, Target(property_of("soc"), Depth(0, 5)), "mean", soil_values(10), crs)
    root = document(write_project(tmp_path, [layer], title="Maps"))
    systems = [*root.findall("projectCrs/spatialrefsys"), *root.findall("projectlayers/maplayer/srs/spatialrefsys")]
    assert len(systems) == 2
    for system in systems:
        wkt = system.findtext("wkt", "")
        assert wkt.startswith(("PROJCRS[", "GEOGCRS["))
        assert rasterio.crs.CRS.from_wkt(wkt) == rasterio.crs.CRS.from_user_input(crs)
        assert system.findtext("authid") == (crs if crs.startswith("EPSG") else "")
    assert root.findtext("properties/SpatialRefSys/ProjectionsEnabled") == "1"
    assert root.findtext("properties/Paths/Absolute") == "false"


def test_a_second_run_gives_the_same_bytes(run: tuple[Path, list[MapLayer]], tmp_path: Path) -> None:
    folder, layers = run
    first = write_project(folder, layers, title="Maps").read_bytes()
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    moved = [MapLayer(copy / layer.path.name, layer.target, layer.statistic) for layer in layers]
    assert write_project(copy, moved, title="Maps").read_bytes() == first
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_metadata_say_what_where_and_whence(run: tuple[Path, list[MapLayer]]) -> None:
    folder, layers = run
    write_project(folder, layers, title="Maps", history="geosoil map a.gsm stack.tif out", licence="CC-BY-4.0")
    root = root_of(folder / "soc_0-5cm_Q0.95.qmd")
    assert root.findtext("title") == "Soil organic carbon 0-5 cm, 95 % quantile [g/kg]"
    abstract = root.findtext("abstract", "")
    assert "0 to 5 cm" in abstract
    assert "g/kg" in abstract
    assert "ab" * 32 in abstract
    assert "geosoil map a.gsm stack.tif out" in [one.text for one in root.findall("history")]
    assert root.findtext("license") == "CC-BY-4.0"
    spatial = root.find("extent/spatial")
    assert spatial is not None
    assert [float(spatial.get(name, "")) for name in ("minx", "maxy")] == [740000, 6690000]


def test_sheets_keep_the_aspect_ratio_of_their_maps(run: tuple[Path, list[MapLayer]]) -> None:
    folder, layers = run
    root = document(write_project(folder, layers, title="Maps"))
    sheets = root.findall("Layouts/Layout")
    assert [sheet.get("name") for sheet in sheets] == ["Soil organic carbon", "Lead"]
    maps = sheets[0].findall("LayoutItem[@type='65639']")
    assert len(maps) == 6
    for item in maps:
        extent = item.find("Extent")
        assert extent is not None
        west, south, east, north = (float(extent.get(name, "")) for name in ("xmin", "ymin", "xmax", "ymax"))
        width, height, _ = item.get("size", "").split(",")
        assert (east - west) / (north - south) == pytest.approx(float(width) / float(height), rel=1e-3)
    legend = sheets[0].find("LayoutItem[@type='65642']")
    assert legend is not None
    assert len(legend.findall("layer-tree-group/layer-tree-layer")) == 1


def test_samples_are_points_in_the_crs_of_the_maps(run: tuple[Path, list[MapLayer]], points: gpd.GeoDataFrame) -> None:
    folder, layers = run
    path = write_samples(folder / "samples.gpkg", points.assign(observed=0.0), UTM)
    write_samples(path, points, UTM)
    found = pyogrio.read_dataframe(path, layer="samples")
    assert found.crs.to_epsg() == 32755
    expected = points.to_crs(UTM)
    assert np.allclose(found.geometry.x, expected.geometry.x)
    assert found["observed"].tolist() == [10.0, 20.0]
    root = document(write_project(folder, layers, title="Maps", samples=path))
    vector = root.find("projectlayers/maplayer[@type='vector']")
    assert vector is not None
    assert vector.find("renderer-v2") is not None
    aliases = {one.get("field"): one.get("name") for one in vector.iter("alias")}
    assert set(aliases) == {"profile", "observed", "predicted", "fold", "depth", "unit"}
    assert aliases["observed"] == "Observed"


def test_samples_without_a_crs_are_refused(tmp_path: Path, points: gpd.GeoDataFrame) -> None:
    with pytest.raises(InputError, match="no CRS") as caught:
        write_samples(tmp_path / "samples.gpkg", points.set_crs(None, allow_override=True), UTM)
    assert caught.value.code == "GS-CRS-MISSING"
    assert not (tmp_path / "samples.gpkg").exists()


def test_a_map_outside_the_folder_is_refused_before_anything_is_written(
    run: tuple[Path, list[MapLayer]], tmp_path: Path
) -> None:
    folder, layers = run
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(UsageError, match="not in the folder") as caught:
        write_project(other, layers, title="Maps")
    assert caught.value.code == "GS-PROJECT-PATH"
    assert layers[0].path.name in caught.value.message
    assert not list(other.iterdir())
    assert not list(folder.glob("*.qml"))


def test_a_project_without_maps_and_a_broken_map_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        write_project(tmp_path, [], title="Maps")
    assert caught.value.code == "GS-PROJECT-EMPTY"
    broken = tmp_path / "soc_0-5cm_mean.tif"
    broken.write_bytes(b"II*\0 not a raster")
    layer = MapLayer(broken, Target(property_of("soc"), Depth(0, 5)), "mean")
    with pytest.raises(InputError, match=r"soc_0-5cm_mean\.tif") as unreadable:
        write_project(tmp_path, [layer], title="Maps")
    assert unreadable.value.code == "GS-MAP-UNREADABLE"
    assert not (tmp_path / "maps.qgz").exists()


def test_a_project_that_cannot_be_replaced_stays_as_it_was(run: tuple[Path, list[MapLayer]]) -> None:
    folder, layers = run
    (folder / "maps.qgz").mkdir()
    (folder / "maps.qgz" / "kept").touch()
    with pytest.raises(OutputError, match=r"maps\.qgz"):
        write_project(folder, layers, title="Maps")
    assert (folder / "maps.qgz" / "kept").exists()
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("level", [0.003, 1.0, 60.0, 2e5])
@pytest.mark.parametrize("classes", [3, 7])
def test_breaks_are_round_increasing_and_none_is_empty(level: float, classes: int) -> None:
    values = soil_values(level).ravel()
    breaks = rounded_breaks(values[np.isfinite(values)], classes)
    assert len(breaks) == classes - 1
    assert np.all(np.diff(breaks) > 0)
    shares = np.histogram(values, [-np.inf, *breaks, np.inf])[0] / np.isfinite(values).sum()
    assert shares.min() > 0.01
    assert all(len(f"{value:g}".replace(".", "").strip("0")) <= 3 for value in breaks)


@pytest.mark.parametrize(
    "values", [np.full(50, 7.25), np.array([3.0]), np.array([0.0] * 60 + [5.0] * 40), np.empty(0), -np.arange(50.0)]
)
def test_breaks_of_few_or_odd_values_can_still_be_drawn(values: np.ndarray) -> None:
    breaks = rounded_breaks(values)
    assert 1 <= len(breaks) <= 6
    assert np.all(np.isfinite(breaks))
    assert breaks == sorted(set(breaks))


def test_breaks_come_from_all_maps_together(tmp_path: Path) -> None:
    soc = property_of("soc")
    low = write_map(tmp_path, Target(soc, Depth(60, 100)), "mean", soil_values(2))
    high = write_map(tmp_path, Target(soc, Depth(0, 5)), "mean", soil_values(40))
    breaks = class_breaks([low.path, high.path])
    assert breaks[0] < 4
    assert breaks[-1] > 20


def test_an_empty_map_gets_a_project(tmp_path: Path) -> None:
    layer = write_map(tmp_path, Target(property_of("soc"), Depth(0, 5)), "mean", np.full(SHAPE, np.nan))
    assert len(items_of(document(write_project(tmp_path, [layer], title="Maps")))) == 2


def test_a_property_of_ones_own_gets_colours(tmp_path: Path) -> None:
    zinc = Property("zn", "Zinc", "mg/kg", 0.0, 1e6, (1.0, 1e4))
    layer = write_map(tmp_path, Target(zinc, Depth(0, 20)), "mean", soil_values(80))
    write_project(tmp_path, [layer], title="Maps")
    items = items_of(root_of(layer.path.with_suffix(".qml")))
    assert [colour for _, colour, _ in items] == [f"#{colour}" for colour in DEFAULT_COLOURS]


def lightness(colour: str) -> float:
    """CIELAB L* of an sRGB colour (IEC 61966-2-1)."""
    red, green, blue = (int(colour.lstrip("#")[place : place + 2], 16) / 255 for place in (0, 2, 4))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def ramps() -> dict[str, Sequence[str]]:
    declared: dict[str, Sequence[str]] = {code: one.colours for code, one in properties().items() if one.colours}
    return {**declared, "default": DEFAULT_COLOURS, "greys": GREYS}


@pytest.mark.parametrize("name", sorted(ramps()))
def test_every_ramp_darkens_visibly_at_every_step(name: str) -> None:
    steps = np.diff([lightness(colour) for colour in ramps()[name]])
    assert np.all(steps < -6)


def test_an_item_says_where_the_map_is(run: tuple[Path, list[MapLayer]]) -> None:
    _, layers = run
    layer = next(one for one in layers if one.path.name == "soc_0-5cm_mean.tif")
    item = json.loads(write_item(layer, licence="CC-BY-4.0").read_text(encoding="utf-8"))
    assert item["id"] == "soc_0-5cm_mean"
    assert item["properties"]["proj:code"] == "EPSG:32755"
    assert item["properties"]["license"] == "CC-BY-4.0"
    assert item["properties"]["datetime"] == "2026-01-02T03:04:05Z"
    assert item["assets"]["map"]["href"] == "./soc_0-5cm_mean.tif"
    band = item["assets"]["map"]["bands"][0]
    assert (band["unit"], band["nodata"]) == ("g/kg", "nan")
    x, y = [740000, 740000 + 60 * 90], [6690000 - 40 * 90, 6690000]
    corners = gpd.GeoSeries.from_xy([*x, *x], [*y, *reversed(y)], crs=UTM).to_crs("EPSG:4326")
    assert item["bbox"] == pytest.approx(list(corners.total_bounds), abs=1e-4)
    ring = item["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1]
    assert gpd.GeoSeries.from_wkt([f"POLYGON(({', '.join(f'{x} {y}' for x, y in ring)}))"])[0].exterior.is_ccw
