"""`geosoil terrain` from a file to covariates, streams and pages: what it leaves, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from rasterio.transform import from_origin
from scipy import stats

import geosoil as library
from geosoil.errors import InputError, InterruptedRunError, OutputError, UsageError
from geosoil.jobs import terrain_relations as relations
from geosoil.jobs.streams import drain
from geosoil.jobs.terrain import TerrainResult, terrain
from geosoil.jobs.terrain_layers import LAYERS
from geosoil.jobs.terrain_relations import correlate, terrain_relations
from geosoil.prep.flow import fill, steepest
from geosoil.prep.terrain import gradient, slope

from ..conftest import Command, file_size_limit  # noqa: TID252  (tests are no package that is installed)

CELL, HEIGHT, WIDTH = 50.0, 48, 60
USUAL = [layer.name for layer in LAYERS if layer.usual]
FEW = ("slope", "twi", "ls_moore")


def valley(gap: bool = True) -> np.ndarray:
    """A valley that falls to the south between rough hills, with pits; a corner without data."""
    rng = np.random.default_rng(1)
    yy, xx = np.mgrid[:HEIGHT, :WIDTH]
    z = 300 + 3 * np.abs(xx - 30 - 6 * np.sin(yy / 7)) - 0.8 * yy + rng.normal(0, 1.5, (HEIGHT, WIDTH))
    if gap:
        z[:9, :12] = np.nan
    return np.asarray(z, np.float32)


def write(path: Path, z: np.ndarray, *, cell: float = CELL, unit: str = "", **profile: Any) -> Path:
    settings = {
        "driver": "GTiff", "height": z.shape[-2], "width": z.shape[-1], "count": 1, "dtype": z.dtype.name,
        "nodata": float("nan") if z.dtype.kind == "f" else None, "crs": "EPSG:32755",
        "transform": from_origin(500_000, 6_700_000, cell, cell),
    }  # fmt: skip
    with rasterio.open(path, "w", **{**settings, **profile}) as file:
        file.write(z if z.ndim == 3 else z[None])
        if unit:
            file.units = (unit,)
    return path


@pytest.fixture
def dem(tmp_path: Path) -> Path:
    return write(tmp_path / "dem.tif", valley())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TerrainResult:
    """A finished run with all layers, and streams from 0.2 km2 on."""
    folder = tmp_path_factory.mktemp("terrain")
    path = write(folder / "dem.tif", valley())
    return terrain(path, folder / "out", attributes=[layer.name for layer in LAYERS], stream_area_km2=0.2, report=False)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        values: np.ndarray = file.read(1)
    return values


def listed(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.fixture
def typed(typed: Command) -> Command:
    """Run `geosoil terrain` in the tests' own process."""
    return partial(typed, "terrain")


@pytest.fixture
def refused(tmp_path: Path, typed: Command) -> Callable[..., str]:
    """Run the command: it must fail with one clear error and leave the folder as it was."""

    def run(*args: object, exit: int, code: str) -> str:
        before = listed(tmp_path)
        ran = typed(*args, "-q")
        assert ran.code == exit, ran.err
        assert ran.out == ""
        first, *rest = ran.err[ran.err.index("error: ") :].splitlines()
        assert first.endswith(f" [{code}]"), ran.err
        assert len(first.removesuffix(f" [{code}]")) <= 100, first
        assert rest, ran.err
        assert all(line.startswith("  ") for line in rest), ran.err
        assert listed(tmp_path) == before
        return ran.err

    return run


def test_the_command_leaves_layers_streams_and_a_report(typed: Command, dem: Path, tmp_path: Path) -> None:
    ran = typed("dem.tif", "deep/terrain/", "--attributes", "slope, twi", "--stream-area", "0.2")
    assert ran.code == 0, ran.err
    out = tmp_path / "deep" / "terrain"
    assert listed(out) == {*("slope.tif", "slope.qml", "twi.tif", "twi.qml", "streams.gpkg", "report.html", "run.json")}
    assert "deep/terrain/twi.tif" in ran.out
    assert "writing layers: 100 %" in ran.err
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<img") == 2
    assert "Terrain of dem.tif" in page
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert record["command"] == "geosoil terrain dem.tif deep/terrain/ --attributes 'slope, twi' --stream-area 0.2"
    assert record["settings"]["flow_exponent"] == 1.1
    again = typed("dem.tif", "deep/terrain/", "-q")
    assert again.code == 4
    assert "GS-OUTPUT-EXISTS" in again.err
    other = typed("dem.tif", "deep/terrain/", "--overwrite", "--attributes", "slope", "--json", "-q", "--no-report")
    assert other.code == 0, other.err
    assert list(other.json["layers"]) == ["slope"]
    assert other.json["schema"] == 1


def test_the_folder_is_a_covariate_stack(typed: Command, dem: Path, tmp_path: Path) -> None:
    assert typed("dem.tif", "terrain", "--no-report", "-q").code == 0
    scene = library.open_scene(tmp_path / "terrain")
    assert sorted(scene["band"].values) == sorted(USUAL)
    assert scene.odc.geobox == library.open_scene(dem).odc.geobox
    # A missing height is missing in every layer, and nothing else is.
    gap = np.isnan(valley())
    assert all((np.isnan(one) == gap).all() for one in scene.values)
    with rasterio.open(tmp_path / "terrain" / "slope.tif") as file:
        assert file.descriptions == ("slope",)
        assert file.units == ("degree",)
        assert file.tags()["units"] == "degree"


def test_layers_hold_what_the_parts_compute(made: TerrainResult) -> None:
    z, cell = valley(), (CELL, CELL)
    layers = {name: read(path).astype(float) for name, path in made.layers.items()}
    inside = ~np.isnan(z)
    angle = slope(*gradient(z, cell))
    np.testing.assert_allclose(layers["slope"], np.degrees(angle), rtol=1e-6)
    turned = np.radians(layers["aspect"])
    np.testing.assert_allclose(layers["aspect_sin"][inside], np.sin(turned)[inside], atol=1e-5)
    np.testing.assert_allclose(layers["aspect_cos"][inside], np.cos(turned)[inside], atol=1e-5)
    np.testing.assert_allclose(
        layers["total_curvature"], layers["plan_curvature"] - layers["profile_curvature"], atol=1e-6
    )
    np.testing.assert_allclose(layers["specific_catchment_area"] * CELL, layers["catchment_area"], rtol=1e-6)
    tangent = np.maximum(np.tan(angle), 0.001)
    np.testing.assert_allclose(layers["twi"], np.log(layers["specific_catchment_area"] / tangent), rtol=1e-5)
    assert (layers["filled"][inside] >= z[inside]).all()
    assert layers["catchment_area"][inside].min() == CELL**2
    assert made.statistics["slope"].highest == pytest.approx(np.nanmax(layers["slope"]))


def test_layers_from_real_heights_are_those_of_saga(typed: Command, tmp_path: Path) -> None:
    table = pd.read_csv(Path(__file__).parent.parent / "data" / "terrain" / "edgeroi_saga_8.5.csv.gz")
    saga = {str(name): table[name].to_numpy(np.float32).reshape(87, 117) for name in table}
    write(tmp_path / "dem.tif", saga["elevation"], cell=90.0)
    assert typed("dem.tif", "out").code == 0
    np.testing.assert_allclose(np.radians(read(tmp_path / "out" / "slope.tif")), saga["slope"], atol=6e-7)
    # SAGA fills a few pits otherwise, and water then leaves them by other cells.
    names = {"catchment_area": "area_mfd", "catchment_area_d8": "area_d8"}
    most = {"catchment_area": 400, "catchment_area_d8": 0, "twi": 4e-4, "ls_moore": 3e-4, "ls_boehner_selige": 1e-4}
    for name, allowed in most.items():
        gap = np.abs(read(tmp_path / "out" / f"{name}.tif") - saga[names.get(name, name)])
        assert np.median(gap) < 3e-3, name
        assert np.percentile(gap, 95) <= allowed, name


def test_streams_basins_and_heights_above_them(made: TerrainResult) -> None:
    lines = gpd.read_file(made.streams, layer="streams")
    basins = gpd.read_file(made.streams, layer="basins")
    layers = {name: read(path).astype(float) for name, path in made.layers.items()}
    area, order, height = (layers[name] for name in ("catchment_area_d8", "stream_order", "height_above_drainage"))
    stream = np.nan_to_num(area) >= 0.2e6
    np.testing.assert_array_equal(order > 0, stream)
    np.testing.assert_array_equal(height[stream], 0)
    assert np.nanmin(height) == 0
    assert np.nanmax(height) > 20
    assert lines.crs == basins.crs == library.open_scene(made.layers["slope"]).odc.geobox.crs
    # Every line runs downhill from stream cell to stream cell, is as long as it says, and has the order of its cells.
    for row in lines.itertuples():
        x, y = np.array(row.geometry.coords)[:, :2].T
        at = ((6_700_000 - y) // CELL).astype(int), ((x - 500_000) // CELL).astype(int)
        assert stream[at].all()
        assert (np.diff(layers["filled"][at]) < 0).all()
        assert (np.diff(area[at]) > 0).all()
        assert (order[at][:-1] == row.order).all()
        assert row.length_m == pytest.approx(row.geometry.length)
        assert row.upstream_km2 * 1e6 in (pytest.approx(area[at][-1]), pytest.approx(area[at][-2]))
    assert lines["order"].max() >= 2
    # Basins are as large as what leaves the map at their outlets.
    largest = lines.groupby("basin")["upstream_km2"].max()
    found = basins.set_index("basin")["area_km2"]
    np.testing.assert_allclose(found.loc[largest.index], largest, rtol=0.3)
    np.testing.assert_allclose(basins.area / 1e6, basins["area_km2"])
    assert found.is_monotonic_decreasing
    assert (np.bincount(layers["basin"][~np.isnan(layers["basin"])].astype(int))[1:] * CELL**2 / 1e6 == found).all()


def test_heights_above_drainage_and_areas_equal_pyflwdirs() -> None:
    filled = fill(valley(), (CELL, CELL))
    drainage = drain(filled, (CELL, CELL), stream_km2=0.1)
    theirs = drainage.directions.hand(drainage.streams, filled.surface)
    inside = ~np.isnan(filled.surface)
    np.testing.assert_allclose(drainage.height()[inside], theirs[inside], atol=1e-4)
    # Cells counted along the ways by hand.
    down = steepest(filled, (CELL, CELL))
    count = np.zeros(down.size, int)
    for cell in filled.order:
        count[cell] += 1
        while down[cell] != cell:
            cell = down[cell]
            count[cell] += 1
    np.testing.assert_array_equal(drainage.cells.ravel()[inside.ravel()], count[inside.ravel()])


def test_land_without_streams_is_no_error(dem: Path, tmp_path: Path) -> None:
    found = terrain(dem, tmp_path / "out", attributes=["height_above_drainage"], stream_area_km2=1000.0)
    assert len(gpd.read_file(found.streams, layer="streams")) == 0
    assert len(gpd.read_file(found.streams, layer="basins")) == 0
    assert found.report is not None
    assert "--stream-area" in found.report.read_text(encoding="utf-8")
    assert np.nanmax(read(found.layers["height_above_drainage"])) > 0


def test_water_crosses_a_small_hole_and_ends_at_a_large_one(tmp_path: Path) -> None:
    z = valley(gap=False)
    whole = terrain(write(tmp_path / "whole.tif", z), tmp_path / "a", attributes=["catchment_area"], report=False)
    z[24:26, 28:38] = np.nan  # across the valley's floor
    path = write(tmp_path / "hole.tif", z)
    crossed = terrain(path, tmp_path / "b", attributes=["catchment_area"], report=False, hole_cells=20)
    ended = terrain(path, tmp_path / "c", attributes=["catchment_area"], report=False, hole_cells=19)
    most = [np.nanmax(read(one.layers["catchment_area"])) for one in (whole, crossed, ended)]
    assert most[1] == pytest.approx(most[0], rel=0.05)
    assert most[2] < 0.7 * most[0]
    assert np.isnan(read(crossed.layers["catchment_area"])[24:26, 28:38]).all()
    assert "water crosses them" in crossed.record["notes"][0]
    assert "water ends there" in ended.record["notes"][0]


def test_equal_heights_give_equal_files_from_a_file_or_an_array(
    dem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    one = terrain(dem, tmp_path / "a", attributes=FEW, report=False)
    other = terrain(dem, tmp_path / "b", attributes=FEW, report=False)
    for name, path in one.layers.items():
        assert path.read_bytes() == other.layers[name].read_bytes()
    array = terrain(library.open_scene(dem), tmp_path / "c", attributes=FEW, report=False)
    assert isinstance(library.open_scene(dem), xr.DataArray)
    for name, path in one.layers.items():
        np.testing.assert_array_equal(read(path), read(array.layers[name]))


def test_heights_in_feet_and_cells_in_feet_are_turned_into_metres(tmp_path: Path) -> None:
    foot = 1200 / 3937
    metres = write(tmp_path / "m.tif", valley())
    expected = read(terrain(metres, tmp_path / "a", attributes=["slope"], report=False).layers["slope"])
    feet = write(tmp_path / "ft.tif", (valley() / 0.3048).astype(np.float32))
    found = terrain(feet, tmp_path / "b", attributes=["slope"], report=False, z_factor=0.3048)
    np.testing.assert_allclose(read(found.layers["slope"]), expected, rtol=1e-4, atol=1e-4)
    # California zone 1, US survey feet.
    ground = write(tmp_path / "ca.tif", valley(), cell=CELL / foot, crs="EPSG:2225")
    found = terrain(ground, tmp_path / "c", attributes=["slope"], report=False)
    np.testing.assert_allclose(read(found.layers["slope"]), expected, rtol=1e-4, atol=1e-4)


def test_a_map_that_stretches_lengths_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = {"crs": "EPSG:3857", "transform": from_origin(1_000_000, 6_400_000, CELL, CELL)}
    found = terrain(write(tmp_path / "web.tif", valley(), **settings), tmp_path / "out", attributes=["slope"])
    assert "1.55 times" in found.record["notes"][0]
    assert "EPSG:32632" in caplog.text


Make = Callable[[Path], object]


def _bad(name: str, z: np.ndarray, **settings: Any) -> Make:
    return lambda folder: write(folder / name, z, **settings)


SMALL = np.ones((20, 20), np.float32)
DEGREES = {"crs": "EPSG:4326", "cell": 0.001, "transform": from_origin(149, -32, 0.001, 0.001)}


@pytest.mark.parametrize(
    ("make", "args", "exit", "code", "words"),
    [
        (_bad("x.tif", np.ones((3, 20, 20), np.float32), count=3), (), 3, "GS-DEM-BANDS", "--bidx 1"),
        (_bad("x.tif", np.ones((3, 20, 20), np.float32), count=3), ("-b", 4), 2, "GS-BAND", "1 to 3"),
        (_bad("x.tif", np.full((20, 20), np.nan, np.float32)), (), 3, "GS-DEM-EMPTY", "nodata"),
        (_bad("x.tif", np.full((20, 20), np.inf, np.float32)), (), 3, "GS-DEM-EMPTY", "nodata"),
        (_bad("x.tif", np.ones((2, 20), np.float32)), (), 3, "GS-DEM-TINY", "20 x 2 cells"),
        (_bad("x.tif", SMALL, **DEGREES), (), 3, "GS-DEM-GEOGRAPHIC", "-t_srs EPSG:32755 -tr 110 110"),
        (_bad("x.tif", SMALL, crs=None), (), 3, "GS-CRS-MISSING", "--crs"),
        (_bad("x.tif", SMALL, unit="ft"), (), 3, "GS-DEM-UNIT", "--z-factor 0.3048"),
        (_bad("x.tif", np.where(np.eye(20), -9999, 5).astype(np.int16)), (), 3, "GS-DEM-HEIGHTS", "-a_nodata -9999"),
        (_bad("x.tif", np.where(np.eye(20), 32767, 5).astype(np.int16)), (), 3, "GS-DEM-HEIGHTS", "32767"),
        (lambda folder: (folder / "x.tif").write_text("no raster"), (), 3, "GS-RASTER-UNREADABLE", "x.tif"),
        (lambda folder: None, (), 3, "GS-FILE-MISSING", "x.tif"),
        (_bad("x.tif", SMALL), ("--attributes", "slop"), 2, "GS-ATTRIBUTE-UNKNOWN", "slope?"),
        (_bad("x.tif", SMALL), ("--attributes", ","), 2, "GS-ATTRIBUTE-UNKNOWN", "slope"),
        (_bad("x.tif", SMALL), ("--stream-area", 0), 2, "GS-STREAM-AREA", "above 0"),
        (_bad("x.tif", SMALL), ("--min-slope", 0), 2, "GS-MIN-SLOPE", "above 0"),
        (_bad("x.tif", SMALL), ("--exponent", -1), 2, "GS-EXPONENT", "above 0"),
        (_bad("x.tif", SMALL), ("--z-factor", 0), 2, "GS-Z-FACTOR", "0.3048"),
        (_bad("x.tif", SMALL), ("--max-memory", "10MB"), 6, "GS-MEMORY", "--max-memory"),
        (_bad("x.tif", SMALL), ("--co", "PHOTOMETRIC=RGB"), 2, "GS-CREATION-OPTION", "known"),
        (_bad("x.tif", SMALL), ("--maps", "no-maps"), 3, "GS-FILE-MISSING", "no-maps"),
    ],
)
def test_what_is_wrong_is_one_error_that_leaves_nothing(
    make: Make, args: tuple[object, ...], exit: int, code: str, words: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    make(tmp_path)
    assert words in refused("x.tif", "out", *args, exit=exit, code=code)


def test_outputs_that_are_in_the_way(dem: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert "part of the path" in refused(dem, "file/out", exit=4, code="GS-NOT-WRITABLE")
    refused(dem, "file", exit=4, code="GS-NOT-WRITABLE")
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "twi.tif").write_text("mine")
    assert "--overwrite" in refused(dem, "held", exit=4, code="GS-OUTPUT-EXISTS")
    assert (tmp_path / "held" / "twi.tif").read_text() == "mine"
    (tmp_path / "held" / "twi.tif").unlink()
    (tmp_path / "held" / "twi.tif").mkdir()
    refused(dem, "held", "--overwrite", exit=4, code="GS-NOT-WRITABLE")


@pytest.mark.parametrize("size", [2_000, 12_000])
def test_a_full_disk_leaves_nothing(size: int, dem: Path, tmp_path: Path) -> None:
    before = listed(tmp_path)
    with file_size_limit(size), pytest.raises(OutputError) as caught:
        terrain(dem, tmp_path / "out", attributes=FEW, report=False)
    assert caught.value.code == "GS-NO-SPACE"
    assert listed(tmp_path) == before


@pytest.mark.parametrize("call", [1, 3, 5, 7, 9])
def test_an_error_at_any_time_leaves_nothing_and_old_results_alone(call: int, dem: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    terrain(dem, out, attributes=["slope"], report=False)
    old = {path: path.read_bytes() for path in out.iterdir()}
    handler = signal.getsignal(signal.SIGINT)
    calls = 0

    def stop(done: int, total: int, message: str) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        terrain(dem, out, attributes=FEW, report=False, overwrite=True, progress=stop)
    assert {path: path.read_bytes() for path in out.iterdir()} == old
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_with_its_exit_code(number: int, code: int, dem: Path, tmp_path: Path) -> None:
    before = listed(tmp_path)

    def send(done: int, total: int, message: str) -> None:
        if message == "gathering flow":
            os.kill(os.getpid(), number)

    with pytest.raises(InterruptedRunError, match="nothing was written") as caught:
        terrain(dem, tmp_path / "new" / "out", attributes=FEW, report=False, progress=send)
    assert caught.value.exit_code == code
    assert listed(tmp_path) == before


def soil_maps(folder: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """Two maps on the valley's grid, one of them with a gap; and one that is no mean."""
    rng = np.random.default_rng(2)
    som = 20 + 0.1 * np.nan_to_num(valley()) + rng.normal(0, 3, (HEIGHT, WIDTH))
    copper = np.exp(rng.normal(3, 0.5, (HEIGHT, WIDTH)))
    copper[30:, 50:] = np.nan
    folder.mkdir()
    for name, values, statistic in (("som", som, "mean"), ("cu", copper, "mean"), ("cu", copper * 2, "Q0.95")):
        path = write(folder / f"{name}_0-20cm_{statistic}.tif", values.astype(np.float32))
        with rasterio.open(path, "r+") as file:
            file.update_tags(long_name=f"{name} 0-20 cm", units="g/kg", statistic=statistic)
    return folder, som.astype(np.float32).astype(float), copper.astype(np.float32).astype(float)


def test_correlations_of_maps_with_the_terrain_equal_scipys(typed: Command, dem: Path, tmp_path: Path) -> None:
    _, som, copper = soil_maps(tmp_path / "maps")
    ran = typed("dem.tif", "out/", "--maps", "maps/", "--attributes", "slope", "--no-report")
    assert ran.code == 0, ran.err
    out = tmp_path / "out"
    assert {"relations.csv", "relations.png", "relations.html", "som_0-20cm_mean_streams.png"} <= listed(out)
    assert not (out / "cu_0-20cm_Q0.95_streams.png").exists()
    frame = pd.read_csv(out / "relations.csv")
    assert len(frame) == 2 * 3 * 3
    layers = {name: read(out / f"{name}.tif").astype(float) for name in FEW}  # those needed were added
    common = np.isfinite(som + copper + layers["slope"])
    left = np.broadcast_to(np.arange(WIDTH) < WIDTH // 2, common.shape)
    regions = {"whole": common, "left": common & left, "right": common & ~left}
    for row in frame.itertuples():
        inside = regions[str(row.region)]
        x = (som if str(row.map).startswith("som") else copper)[inside]
        y = layers[str(row.attribute)][inside]
        assert row.cells == inside.sum()
        assert row.pearson == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-9)
        assert row.spearman == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)
    page = (out / "relations.html").read_text(encoding="utf-8")
    assert page.count("<img") == 3
    assert "no significance" in page


def test_ranks_by_classes_are_right_to_many_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relations, "_SAMPLE", 2**14)
    monkeypatch.setattr(relations, "_MOST_EXACT", 100)
    monkeypatch.setattr(relations, "_CLASSES", 2**11)
    monkeypatch.setattr(relations, "_WINDOW", 100)
    rng = np.random.default_rng(0)
    one = rng.lognormal(0, 2, (250, 260)).astype(np.float32)
    other = (np.log(one) + rng.normal(0, 1, one.shape)).astype(np.float32)
    other[other < 0] = 0  # many ties
    scene, layers = (xr.DataArray(v[None], dims=("band", "y", "x")) for v in (one, other))
    frame = correlate(scene, layers, ["soil"], ["slope"]).set_index("region")
    expected = stats.spearmanr(one.ravel(), other.ravel()).statistic
    assert frame.loc["whole", "spearman"] == pytest.approx(expected, abs=2e-6)
    expected = stats.spearmanr(one[:, :130].ravel(), other[:, :130].ravel()).statistic
    assert frame.loc["left", "spearman"] == pytest.approx(expected, abs=2e-6)
    assert frame.loc["left", "pearson"] == pytest.approx(
        np.corrcoef(one[:, :130].ravel(), other[:, :130].ravel())[0, 1]
    )


def test_a_map_that_does_not_vary_has_no_correlation() -> None:
    rng = np.random.default_rng(0)
    scene = xr.DataArray(np.full((1, 20, 20), 7.3, np.float32), dims=("band", "y", "x"))
    layers = xr.DataArray(rng.normal(size=(1, 20, 20)).astype(np.float32), dims=("band", "y", "x"))
    frame = correlate(scene, layers, ["soil"], ["slope"])
    assert frame[["pearson", "spearman"]].isna().all().all()


def test_maps_of_other_cells_take_the_terrain_on_their_grid(made: TerrainResult, tmp_path: Path) -> None:
    def blocks(values: np.ndarray) -> np.ndarray:
        parts = np.ma.masked_invalid(values).reshape(HEIGHT // 4, 4, WIDTH // 4, 4)
        return np.asarray(parts.mean(axis=(1, 3)).filled(np.nan), np.float32)

    coarse = blocks(valley())
    path = write(tmp_path / "soc_mean.tif", coarse, cell=4 * CELL)
    found = terrain_relations([path], made.folder, tmp_path / "out")
    assert found.frame["cells"].max() <= coarse.size
    # Blocks of cells, averaged: the correlation is that with the mean slope of each block.
    steep = blocks(read(made.layers["slope"]))
    inside = np.isfinite(coarse + steep)
    row = found.frame.query("attribute == 'slope' and region == 'whole'").iloc[0]
    assert row["pearson"] == pytest.approx(np.corrcoef(coarse[inside], steep[inside])[0, 1], abs=0.02)
    assert all(one.exists() for one in (found.table, found.plot, found.report, *found.pictures))
    with pytest.raises(OutputError, match="exists"):
        terrain_relations([path], made.folder, tmp_path / "out")


def test_maps_and_terrain_that_cannot_be_compared(made: TerrainResult, tmp_path: Path) -> None:
    before = set()
    folder, *_ = soil_maps(tmp_path / "maps")
    empty = write(tmp_path / "empty_mean.tif", np.full((HEIGHT, WIDTH), np.nan, np.float32))
    other = write(tmp_path / "other_mean.tif", np.ones((10, 10), np.float32))
    far = write(tmp_path / "far_mean.tif", np.ones((10, 10), np.float32), transform=from_origin(9e5, 2e6, 50, 50))
    (tmp_path / "none").mkdir()
    write(tmp_path / "none" / "soc_Q0.05.tif", SMALL)
    before = listed(tmp_path)
    for maps, terrain_folder, code in (
        (tmp_path / "none", made.folder, "GS-MAPS-MISSING"),
        ([empty], made.folder, "GS-NO-OVERLAP"),
        ([folder / "som_0-20cm_mean.tif", other], made.folder, "GS-GRID-MISMATCH"),
        ([far], made.folder, "GS-GRID-APART"),
        (folder, tmp_path / "none", "GS-TERRAIN-MISSING"),
    ):
        with pytest.raises(InputError) as caught:
            terrain_relations(maps, terrain_folder, tmp_path / "out")
        assert caught.value.code == code
    twice = [folder / "som_0-20cm_mean.tif"] * 2
    with pytest.raises(UsageError, match="two maps"):
        terrain_relations(twice, made.folder, tmp_path / "out")
    assert listed(tmp_path) == before


def test_maps_of_another_place_are_said_before_the_water_is_led(tmp_path: Path) -> None:
    dem = write(tmp_path / "dem.tif", valley())
    (tmp_path / "maps").mkdir()
    far = write(tmp_path / "maps" / "soc_mean.tif", SMALL, transform=from_origin(9e5, 2e6, 50, 50))
    with pytest.raises(InputError, match=r"the maps lie outside dem\.tif") as caught:
        terrain(dem, tmp_path / "out", maps=tmp_path / "maps", progress=never)
    assert caught.value.code == "GS-GRID-APART"
    shown = "EPSG:32755, {} x {} cells of 50 x 50, upper left {}"
    assert list(caught.value.details) == [
        f"map: {far}: {shown.format(SMALL.shape[1], SMALL.shape[0], '900000, 2000000')}",
        f"terrain: {dem}: {shown.format(WIDTH, HEIGHT, '500000, 6700000')}",
    ]


def never(done: int, total: int, message: str) -> None:
    raise AssertionError(message)
