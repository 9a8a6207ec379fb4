"""What lies beside the maps, and what a lazy prediction says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from pyproj import CRS

import geosoil
from geosoil.errors import InputError, UsageError

from .mapping import DEPTHS, make_model, make_stack


def points(code: str, crs: str = "EPSG:32755") -> gpd.GeoDataFrame:
    """Two points of a property in the made scene."""
    frame = gpd.GeoDataFrame(
        {"profile": ["a", "b"], "property": code, "observed": [1.0, 2.0], "predicted": [1.5, 1.5]},
        geometry=gpd.points_from_xy([740_100, 740_900], [6_679_900, 6_679_300]),
        crs="EPSG:32755",
    )
    return frame.to_crs(crs)


def test_samples_of_several_files_lie_on_the_maps_in_their_crs(tmp_path: Path) -> None:
    make_stack(tmp_path / "s.tif", (40, 60))
    points("soc").to_file(tmp_path / "soc.gpkg")
    points("pb", "EPSG:4326").to_file(tmp_path / "pb.gpkg")
    models = [make_model(kind="rf"), make_model(kind="rf", code="pb")]
    paths = [tmp_path / "soc.gpkg", tmp_path / "pb.gpkg"]
    made = geosoil.map(models, tmp_path / "s.tif", tmp_path / "maps", samples=paths)
    shown = gpd.read_file(tmp_path / "maps" / "samples.gpkg")
    assert shown["property"].tolist() == ["soc", "soc", "pb", "pb"]
    with rasterio.open(made.maps[0]) as file:
        assert CRS.from_user_input(file.crs) == CRS.from_user_input(shown.crs)
    np.testing.assert_allclose(shown.geometry.x[:2], shown.geometry.x[2:], atol=1e-3)


def test_what_is_no_points_is_refused_before_any_work(tmp_path: Path) -> None:
    make_stack(tmp_path / "s.tif", (40, 60))
    (tmp_path / "p.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        geosoil.map(make_model(kind="rf"), tmp_path / "s.tif", tmp_path / "maps", samples=tmp_path / "p.csv")
    assert caught.value.code == "GS-POINTS"
    assert not (tmp_path / "maps").exists()


def test_a_folder_of_maps_tells_the_same_in_all_its_files(tmp_path: Path) -> None:
    make_stack(tmp_path / "s.tif", (40, 60))
    made = geosoil.map(make_model(kind="rf"), tmp_path / "s.tif", tmp_path / "maps", command="geosoil map <soc.gsm>")
    assert made.project == tmp_path / "maps" / "maps.qgz"
    assert made.report is not None
    report = made.report.read_text(encoding="utf-8")
    assert "geosoil map &lt;soc.gsm&gt;" in report
    assert report.count("data:image/png;base64,") == 1
    for path, found in zip(made.maps, made.statistics, strict=True):
        item = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert item["assets"]["map"]["href"] == f"./{path.name}"
        assert item["assets"]["map"]["bands"][0]["statistics"]["mean"] == pytest.approx(found.mean)
        assert all(path.with_suffix(suffix).exists() for suffix in (".qml", ".qmd"))
    record = json.loads((tmp_path / "maps" / "run.json").read_text(encoding="utf-8"))
    assert record == made.record
    assert [name.split(".")[0] for name in record["plan"]["outputs"]] == [path.stem for path in made.maps]


def test_equal_recipes_have_equal_hashes_whatever_they_map(tmp_path: Path) -> None:
    def recipe(kind: str, shape: tuple[int, int], name: str) -> str:
        make_stack(tmp_path / f"{name}.tif", shape)
        made = geosoil.map(make_model(kind=kind), tmp_path / f"{name}.tif", tmp_path / name)
        with rasterio.open(made.maps[0]) as file:
            return str(file.tags()["recipe_sha256"])

    first = recipe("rf", (40, 60), "one")
    assert recipe("rf", (30, 50), "two") == first
    assert recipe("cnn", (30, 50), "three") != first


def test_a_lazy_prediction_has_its_depths_as_coordinates(tmp_path: Path) -> None:
    scene = make_stack(tmp_path / "s.tif", (40, 60))
    maps = geosoil.predict(make_model(kind="rf"), scene, statistics=("mean", "Q0.5"))
    assert maps["statistic"].values.tolist() == ["mean", "Q0.5"] * 2
    bounds = zip(maps["depth_top"].values.tolist(), maps["depth_bottom"].values.tolist(), strict=True)
    assert list(bounds) == [depth for depth in DEPTHS for _ in range(2)]
    assert maps["depth"].attrs == {"units": "cm", "positive": "down"}
    topsoil = maps.isel(target=(maps["depth"] < 5) & (maps["statistic"] == "mean"))
    assert topsoil["target"].values.tolist() == ["soc_0-5cm_mean"]


@pytest.mark.parametrize(("name", "near"), [("COMPRES", "COMPRESS"), ("TILED", "see GDAL")])
def test_creation_options_that_gdal_would_pass_over_are_refused(name: str, near: str, tmp_path: Path) -> None:
    make_stack(tmp_path / "s.tif", (20, 20))
    with pytest.raises(UsageError) as caught:
        geosoil.map(make_model(kind="rf"), tmp_path / "s.tif", tmp_path / "maps", co={name: "YES"})
    assert near in str(caught.value.hint)
    assert not (tmp_path / "maps").exists()


def test_a_list_of_arrays_is_mapped_as_the_scene_that_they_make(tmp_path: Path) -> None:
    scene = make_stack(tmp_path / "s.tif", (40, 60))
    model = make_model(kind="rf")
    whole = geosoil.predict(model, scene).values
    parts = [scene.isel(band=slice(0, 1)), scene.isel(band=slice(1, 3))]
    np.testing.assert_array_equal(geosoil.predict(model, parts).values, whole)
    made = geosoil.map(model, parts, tmp_path / "maps")
    with rasterio.open(made.maps[0]) as file:
        np.testing.assert_array_equal(file.read(1), whole[0])
