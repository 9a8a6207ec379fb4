"""Maps are what the models say, cell by cell, however the scene is cut, stored or named; and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

import geosoil
from geosoil.errors import GeosoilError, InputError, ModelError, OutputError, UsageError
from geosoil.jobs.map import MapResult
from geosoil.jobs.provenance import fingerprint
from geosoil.models.bundle import Bundle
from geosoil.testing import make_scene, write_raster

from .mapping import BANDS, DEPTHS, make_model, make_stack, patch_by_patch, values_of

if TYPE_CHECKING:
    import xarray as xr


NAMES = tuple(f"soc_{top}-{bottom}cm_mean.tif" for top, bottom in DEPTHS)


@pytest.fixture(autouse=True)
def _same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


def files(folder: Path) -> dict[str, bytes]:
    """All maps of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tif"))}


def save_scene(path: Path, scene: xr.DataArray, **options: Any) -> Path:
    """Write a scene's bands, with their names, on its grid."""
    names = [str(name) for name in scene["band"].values]
    settings = {"transform": scene.odc.geobox.affine, "nodata": np.nan, **options}
    return write_raster(path, np.asarray(scene.values), names=names, **settings)


class TestValues:
    """Each cell of a map is the model's prediction for its patch."""

    @pytest.mark.parametrize(
        ("kind", "patch", "shape"),
        [
            ("cnn", 1, (131, 140)),
            ("cnn", 5, (131, 140)),
            ("cnn", 15, (20, 150)),
            ("cnn", 9, (5, 3)),
            ("rf", 1, (131, 140)),
        ],
    )
    def test_maps_equal_predictions_patch_by_patch_at_edges_and_gaps_too(
        self, kind: str, patch: int, shape: tuple[int, int], tmp_path: Path
    ) -> None:
        model = make_model(kind=kind, patch=patch)
        scene = make_stack(tmp_path / "scene.tif", shape)
        made = geosoil.map(model, tmp_path / "scene.tif", tmp_path / "maps", tile_size=128)
        wanted = patch_by_patch(model, scene)
        assert [path.name for path in made.maps] == list(NAMES)
        assert np.isnan(wanted).any()
        assert np.nanstd(wanted) > 0.01, "maps of one value would show nothing"
        np.testing.assert_allclose(values_of(made.maps), wanted, rtol=5e-5)

    def test_classes_are_mapped_as_they_were_learned(self, tmp_path: Path) -> None:
        model = make_model(bands=("elevation", "rock"), classes=("rock",))
        scene = make_scene(shape=(60, 140), bands=("elevation",), classes=("rock",), missing=0.1, seed=1).compute()
        made = geosoil.map(model, save_scene(tmp_path / "s.tif", scene), tmp_path / "maps")
        np.testing.assert_allclose(values_of(made.maps), patch_by_patch(model, scene), rtol=5e-5)

    def test_a_cell_is_mapped_where_all_bands_of_its_model_have_values_and_nowhere_else(self, tmp_path: Path) -> None:
        scene = make_scene(shape=(50, 140), bands=BANDS, seed=2).compute()
        scene[0, 10:12, 20:25] = np.nan
        scene[1, 40, 130] = np.inf
        scene[2, 30:33, 3:6] = np.nan
        model = make_model(bands=BANDS[:2])
        found = values_of(geosoil.map(model, save_scene(tmp_path / "s.tif", scene), tmp_path / "maps").maps)
        valid = np.isfinite(scene.values[:2]).all(axis=0)
        assert (np.isfinite(found) == valid).all()

    def test_quantiles_are_ordered_and_say_what_they_are(self, tmp_path: Path) -> None:
        model = make_model(kind="rf")
        scene = make_stack(tmp_path / "s.tif", (40, 60))
        statistics = ("Q0.95", "mean", "Q0.05", "Q0.5")
        made = geosoil.map(model, tmp_path / "s.tif", tmp_path / "maps", statistics=statistics)
        assert [output.stem for output in made.outputs] == [
            f"soc_{top}-{bottom}cm_{name}" for top, bottom in DEPTHS for name in statistics
        ]
        raw = np.stack([scene.sel(band=name).values for name in BANDS])
        patches = raw.transpose(1, 2, 0).reshape(-1, len(BANDS), 1, 1)
        found = values_of(made.maps).reshape(2, 4, 40, 60)
        for place, name in enumerate(statistics):
            wanted = model.predict(patches, name).T.reshape(2, 40, 60)
            np.testing.assert_allclose(found[:, place], wanted, rtol=5e-5)
        good = np.isfinite(found).all(axis=(0, 1))
        high, mean, low, middle = found[:, :, good].transpose(1, 0, 2)
        assert (low < middle).all()
        assert (middle < high).all()
        assert (low < mean).all()
        tags = []
        for path in made.maps[:4]:
            with rasterio.open(path) as file:
                tags.append((file.tags()["statistic"], file.tags().get("interval"), file.descriptions[0]))
        assert tags == [
            ("Q0.95", "0.90", "Made soc 0-5 cm Q0.95 [g/kg]"),
            ("mean", None, "Made soc 0-5 cm [g/kg]"),
            ("Q0.05", "0.90", "Made soc 0-5 cm Q0.05 [g/kg]"),
            ("Q0.5", None, "Made soc 0-5 cm Q0.5 [g/kg]"),
        ]

    def test_a_scene_without_any_data_gives_empty_maps(self, tmp_path: Path) -> None:
        save_scene(tmp_path / "s.tif", make_scene(shape=(140, 50), bands=BANDS).compute() * np.nan)
        made = geosoil.map(make_model(), tmp_path / "s.tif", tmp_path / "maps")
        assert np.isnan(values_of(made.maps)).all()
        assert [one.valid for one in made.statistics] == [0, 0]

    def test_a_number_stands_for_no_data_where_it_is_asked_for(self, tmp_path: Path) -> None:
        make_stack(tmp_path / "s.tif", (40, 60))
        model = make_model(kind="rf")
        plain = geosoil.map(model, tmp_path / "s.tif", tmp_path / "plain")
        made = geosoil.map(model, tmp_path / "s.tif", tmp_path / "maps", nodata=-9999)
        with rasterio.open(made.maps[0]) as file:
            assert file.nodata == -9999
            assert np.isfinite(file.read(1)).all()
        assert np.array_equal(values_of(made.maps), values_of(plain.maps), equal_nan=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of more than one tile of 512, a network and a forest; and the maps of the network."""
    folder = tmp_path_factory.mktemp("site")
    make_stack(folder / "scene.tif", (530, 140))
    make_model(folder / "soc.gsm", patch=5)
    make_model(folder / "pb.gsm", code="pb", kind="rf", bands=("twi",))
    make_model(folder / "cu.gsm", code="cu", patch=3, bands=("ndvi", "elevation"), seed=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        geosoil.map(folder / "soc.gsm", folder / "scene.tif", folder / "maps", tile_size=128, num_workers=1)
    return folder


class TestSameMaps:
    """The way to a map cannot be seen in it."""

    @pytest.mark.parametrize(
        ("tile_size", "num_workers"), [(128, 3), (256, 2), (512, 1), (512, 2), (1024, 2), (None, None)]
    )
    def test_tile_size_and_workers_leave_every_byte_as_it_is(
        self, tile_size: int | None, num_workers: int | None, site: Path, tmp_path: Path
    ) -> None:
        geosoil.map(site / "soc.gsm", site / "scene.tif", tmp_path, tile_size=tile_size, num_workers=num_workers)
        assert files(tmp_path) == files(site / "maps")
        assert len(files(tmp_path)) == 2

    def test_several_models_in_one_pass_give_what_each_gives_alone(self, site: Path, tmp_path: Path) -> None:
        models = [site / f"{name}.gsm" for name in ("pb", "soc", "cu")]
        made = geosoil.map(models, site / "scene.tif", tmp_path / "all", tile_size=256)
        for model in models:
            geosoil.map(model, site / "scene.tif", tmp_path / "each", tile_size=128)
        assert files(tmp_path / "all") == files(tmp_path / "each")
        assert len(made.maps) == 6

    @pytest.mark.parametrize("statistics", [("mean",), ("Q0.05", "Q0.95")])
    def test_a_lazy_prediction_computes_to_the_values_in_the_files(
        self, statistics: tuple[str, ...], site: Path, tmp_path: Path
    ) -> None:
        made = geosoil.map(site / "soc.gsm", site / "scene.tif", tmp_path, statistics=statistics)
        lazy = geosoil.predict(site / "soc.gsm", site / "scene.tif", statistics=statistics)
        assert lazy.chunks is not None
        assert dict(lazy.sizes) == {"target": 2 * len(statistics), "y": 530, "x": 140}
        assert lazy.dtype == np.float32
        assert [f"{stem}.tif" for stem in lazy["target"].values] == [path.name for path in made.maps]
        assert lazy.attrs["units"] == "g/kg"
        wanted = values_of(made.maps)
        assert lazy.compute().values.tobytes() == wanted.tobytes()
        part = lazy[1, 500:520, 110:131].compute()
        assert np.array_equal(part.values, wanted[1, 500:520, 110:131], equal_nan=True)
        with rasterio.open(made.maps[0]) as file:
            assert lazy.odc.geobox.affine == file.transform
            assert lazy.odc.geobox.crs.epsg == file.crs.to_epsg()

    def test_a_lazy_prediction_is_put_on_the_grid_to_align_to(self, site: Path, tmp_path: Path) -> None:
        scene = geosoil.open_scene(site / "scene.tif").compute()
        save_scene(tmp_path / "like.tif", scene[:, 30:90, 20:70])
        lazy = geosoil.predict(site / "soc.gsm", site / "scene.tif", align=tmp_path / "like.tif")
        made = geosoil.map(site / "soc.gsm", site / "scene.tif", tmp_path / "maps", align=tmp_path / "like.tif")
        assert dict(lazy.sizes) == {"target": 2, "y": 60, "x": 50}
        assert np.array_equal(lazy.values, values_of(made.maps), equal_nan=True)

    def test_a_scene_in_memory_gives_the_values_that_its_file_gives(self, site: Path, tmp_path: Path) -> None:
        scene = geosoil.open_scene(site / "scene.tif").compute()
        made = geosoil.map(site / "soc.gsm", scene.chunk({"y": 77, "x": 200}), tmp_path)
        assert np.array_equal(values_of(made.maps), values_of(sorted((site / "maps").glob("*.tif"))), equal_nan=True)

    def test_bands_in_another_order_and_in_several_files_give_the_same_values(self, site: Path, tmp_path: Path) -> None:
        scene = geosoil.open_scene(site / "scene.tif").compute()
        save_scene(tmp_path / "b.tif", scene[[2, 1]])
        save_scene(tmp_path / "a.tif", scene[[0]])
        made = geosoil.map(site / "soc.gsm", [tmp_path / "b.tif", tmp_path / "a.tif"], tmp_path / "maps")
        assert np.array_equal(values_of(made.maps), values_of(sorted((site / "maps").glob("*.tif"))), equal_nan=True)

    def test_the_same_run_elsewhere_gives_the_same_bytes(self, site: Path, tmp_path: Path) -> None:
        elsewhere = tmp_path / "Böden & 土壤 (1)"
        elsewhere.mkdir()
        scene, model = elsewhere / "scene.tif", elsewhere / "mein modell.gsm"
        shutil.copy(site / "scene.tif", scene)
        shutil.copy(site / "soc.gsm", model)
        geosoil.map(model, scene, elsewhere / "neue karten" / "2026 – ä")
        assert files(elsewhere / "neue karten" / "2026 – ä") == files(site / "maps")


class TestFiles:
    """What a run leaves, and what its files say of themselves."""

    def test_maps_are_valid_cogs_that_say_where_they_come_from(self, site: Path) -> None:
        model = geosoil.load_model(site / "soc.gsm")
        scene = site / "scene.tif"
        for name, (top, bottom) in zip(NAMES, DEPTHS, strict=True):
            valid, errors, warnings = cog_validate(site / "maps" / name, strict=True, quiet=True)
            assert (valid, errors, warnings) == (True, [], [])
            with rasterio.open(site / "maps" / name) as file, rasterio.open(scene) as source:
                tags = file.tags()
                values = file.read(1)
                statistics = {key: float(text) for key, text in file.tags(1).items()}
                assert (file.transform, file.crs, file.shape) == (source.transform, source.crs, source.shape)
                assert file.overviews(1) == [2]
                assert file.descriptions == (f"Made soc {top}-{bottom} cm [g/kg]",)
                assert file.units == ("g/kg",)
                assert np.isnan(file.nodata)
            assert tags["model_sha256"] == model.sha256
            assert json.loads(tags["inputs"]) == [{"name": "scene.tif", "hash": fingerprint(scene)}]
            assert tags["created"] == "2023-11-14T22:13:20Z"
            assert (tags["depth_top_cm"], tags["depth_bottom_cm"]) == (str(top), str(bottom))
            assert (tags["units"], tags["statistic"], tags["Conventions"]) == ("g/kg", "mean", "CF-1.11")
            assert tags["geosoil_version"] == geosoil.__version__
            assert str(site) not in str(tags)
            assert statistics["STATISTICS_MINIMUM"] == np.nanmin(values)
            assert statistics["STATISTICS_MAXIMUM"] == np.nanmax(values)
            assert statistics["STATISTICS_MEAN"] == pytest.approx(np.nanmean(values.astype(np.float64)), rel=1e-12)
            assert statistics["STATISTICS_STDDEV"] == pytest.approx(np.nanstd(values.astype(np.float64)), rel=1e-12)
            assert statistics["STATISTICS_VALID_PERCENT"] == pytest.approx(100 * np.isfinite(values).mean(), rel=1e-3)

    def test_the_result_and_the_record_tell_what_was_done(self, site: Path, tmp_path: Path) -> None:
        told: list[tuple[int, int, str]] = []
        made = geosoil.map(
            site / "pb.gsm",
            site / "scene.tif",
            tmp_path / "a" / "b",
            tile_size=256,
            num_workers=2,
            progress=lambda *step: told.append(step),
            command="geosoil map pb.gsm",
        )
        assert made.folder == tmp_path / "a" / "b"
        record = json.loads((made.folder / "run.json").read_text(encoding="utf-8"))
        assert record == made.record
        assert record["tiles"] == {"made": 3, "failed": {}}
        assert record["command"] == "geosoil map pb.gsm"
        assert record["models"] == [{"name": "pb", "sha256": geosoil.load_model(site / "pb.gsm").sha256}]
        assert record["plan"]["tile_size"] == 256
        assert [step for step in told if step[2] == "mapping"] == [(done, 3, "mapping") for done in range(4)]
        assert told[-1] == (2, 2, "writing maps")
        for path, one in zip(made.maps, made.statistics, strict=True):
            values = values_of([path])
            assert one.mean == pytest.approx(float(np.nanmean(values.astype(np.float64))), rel=1e-12)

    def test_nothing_of_the_work_stays_behind(self, site: Path) -> None:
        assert [path.name for path in (site / "maps").iterdir() if path.name.startswith(".")] == []


class TestBands:
    """Bands are matched by name; what does not fit is refused before a tile is made."""

    def run(self, model: Bundle, scene: xr.DataArray, folder: Path, **settings: Any) -> MapResult:
        return geosoil.map(model, save_scene(folder / "s.tif", scene), folder / "maps", **settings)

    def refused(
        self, kind: type[GeosoilError], model: Bundle, scene: xr.DataArray, folder: Path, **settings: Any
    ) -> GeosoilError:
        with pytest.raises(kind) as caught:
            self.run(model, scene, folder, **settings)
        assert not (folder / "maps").exists()
        return caught.value

    def scene(self, *names: str, classes: tuple[str, ...] = ()) -> xr.DataArray:
        return make_scene(shape=(40, 30), bands=names, classes=classes, seed=4).compute()

    def test_a_band_that_is_missing_is_named(self, tmp_path: Path) -> None:
        error = self.refused(ModelError, make_model(kind="rf"), self.scene("elevation", "ndvi", "slope"), tmp_path)
        assert (error.code, error.exit_code) == ("GS-BANDS-MISSING", 5)
        assert any("twi" in line for line in error.details)
        assert "lacks 1 of them" in error.message

    def test_a_band_of_another_name_can_stand_for_one(self, tmp_path: Path) -> None:
        model = make_model(kind="rf")
        scene = self.scene("dem", "twi", "ndvi")
        found = values_of(self.run(model, scene, tmp_path, band_map={"elevation": "dem"}).maps)
        wanted = patch_by_patch(model, scene.assign_coords(band=list(BANDS)))
        np.testing.assert_allclose(found, wanted, rtol=5e-5)

    def test_a_band_map_for_a_band_that_no_model_takes_is_refused(self, tmp_path: Path) -> None:
        error = self.refused(ModelError, make_model(kind="rf"), self.scene(*BANDS), tmp_path, band_map={"dem": "twi"})
        assert error.code == "GS-BANDS-MAP"
        assert "dem" in error.message

    def test_unseen_classes_are_refused_with_their_codes_and_place(self, tmp_path: Path) -> None:
        model = make_model(bands=("elevation", "rock"), classes=("rock",), kind="rf")
        scene = self.scene("elevation", classes=("rock",))
        scene[1, 7, 9] = 8
        with pytest.raises(InputError) as caught:
            self.run(model, scene, tmp_path)
        assert (caught.value.code, caught.value.exit_code) == ("GS-CATEGORY-UNSEEN", 3)
        assert "8 (1 cells)" in caught.value.render()
        assert "rows 0 to 39, columns 0 to 29" in caught.value.render()
        assert "--unseen missing" in caught.value.hint
        assert not (tmp_path / "maps").exists()

    def test_unseen_classes_can_be_missing_values(self, tmp_path: Path) -> None:
        model = make_model(bands=("elevation", "rock"), classes=("rock",), patch=3)
        scene = self.scene("elevation", classes=("rock",))
        scene[1, 7, 9:12] = 8
        found = values_of(self.run(model, scene, tmp_path, unseen="missing").maps)
        without = scene.copy()
        without[1, 7, 9:12] = np.nan
        np.testing.assert_allclose(found, patch_by_patch(model, without), rtol=5e-5)
        assert np.isnan(found).sum() == 2 * 3

    def test_two_models_of_the_same_map_are_refused(self, tmp_path: Path) -> None:
        save_scene(tmp_path / "s.tif", self.scene(*BANDS))
        with pytest.raises(UsageError, match="soc_0-5cm_mean") as caught:
            geosoil.map([make_model(kind="rf"), make_model()], tmp_path / "s.tif", tmp_path / "maps")
        assert (caught.value.code, caught.value.exit_code) == ("GS-MODELS-TWICE", 2)

    def test_no_model_at_all_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError) as caught:
            geosoil.map([], tmp_path / "s.tif", tmp_path / "maps")
        assert caught.value.code == "GS-MODELS-NONE"

    @pytest.mark.parametrize("statistic", ["median", "Q1.5", "Q", "q0.5", "Q0"])
    def test_a_statistic_that_is_not_known_is_refused_before_anything_is_written(
        self, statistic: str, tmp_path: Path
    ) -> None:
        model = make_model(kind="rf")
        error = self.refused(UsageError, model, self.scene(*BANDS), tmp_path, statistics=(statistic,))
        assert (error.code, error.exit_code) == ("GS-STATISTIC", 2)
        assert repr(statistic) in error.message

    def test_no_statistic_at_all_is_refused(self, tmp_path: Path) -> None:
        error = self.refused(UsageError, make_model(kind="rf"), self.scene(*BANDS), tmp_path, statistics=())
        assert error.code == "GS-STATISTIC"

    def test_a_scene_without_a_crs_is_refused_until_one_is_named(self, tmp_path: Path) -> None:
        save_scene(tmp_path / "s.tif", self.scene(*BANDS), crs=None)
        model = make_model(kind="rf")
        with pytest.raises(InputError) as caught:
            geosoil.map(model, tmp_path / "s.tif", tmp_path / "maps")
        assert (caught.value.code, caught.value.exit_code) == ("GS-CRS-MISSING", 3)
        assert not (tmp_path / "maps").exists()
        made = geosoil.map(model, tmp_path / "s.tif", tmp_path / "maps", crs="EPSG:32755")
        with rasterio.open(made.maps[0]) as file:
            assert file.crs.to_epsg() == 32755

    def test_files_on_different_grids_are_refused_until_one_is_named_to_align_to(self, tmp_path: Path) -> None:
        scene = self.scene(*BANDS)
        save_scene(tmp_path / "a.tif", scene[:2])
        coarse = make_scene(shape=(20, 15), bands=("ndvi",), resolution=60).compute()
        save_scene(tmp_path / "b.tif", coarse)
        both, model = [tmp_path / "a.tif", tmp_path / "b.tif"], make_model(kind="rf")
        with pytest.raises(InputError) as caught:
            geosoil.map(model, both, tmp_path / "maps")
        assert caught.value.code == "GS-GRID-MISMATCH"
        made = geosoil.map(model, both, tmp_path / "maps", align=tmp_path / "a.tif")
        aligned = geosoil.open_scene(both, align=tmp_path / "a.tif").compute()
        np.testing.assert_allclose(values_of(made.maps), patch_by_patch(model, aligned), rtol=5e-5)


class TestPlaces:
    """Where maps may go."""

    @pytest.fixture
    def scene(self, tmp_path: Path) -> Path:
        return save_scene(tmp_path / "s.tif", make_scene(shape=(40, 30), bands=BANDS).compute())

    def test_maps_that_are_there_stay_as_they_are_unless_they_may_be_replaced(
        self, scene: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "maps"
        geosoil.map(make_model(kind="rf", seed=1), scene, out)
        before = files(out)
        with pytest.raises(OutputError, match="2 of these maps") as caught:
            geosoil.map(make_model(kind="rf", seed=2), scene, out)
        assert (caught.value.code, caught.value.exit_code) == ("GS-OUTPUT-EXISTS", 4)
        assert files(out) == before
        geosoil.map(make_model(kind="rf", seed=2), scene, out, overwrite=True)
        assert files(out).keys() == before.keys()
        assert files(out) != before

    @pytest.mark.parametrize("there", [False, True])
    def test_a_run_that_fails_at_once_leaves_the_folders_as_they_were(
        self, there: bool, scene: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "maps"
        if there:
            out.mkdir()

        def progress(done: int, total: int, what: str) -> None:
            raise KeyError(what)

        with pytest.raises(KeyError):
            geosoil.map(make_model(kind="rf"), scene, out, progress=progress)
        assert out.exists() == there
        assert list(out.glob("*")) == []

    def test_maps_can_be_made_in_any_thread(self, scene: Path, tmp_path: Path) -> None:
        model = make_model(kind="rf")
        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(geosoil.map, model, scene, tmp_path / name) for name in "ab"]
            one, two = (run.result() for run in runs)
        assert files(one.folder) == files(two.folder)
        assert len(one.maps) == 2

    def test_another_property_goes_beside_the_maps_that_are_there(self, scene: Path, tmp_path: Path) -> None:
        geosoil.map(make_model(kind="rf"), scene, tmp_path / "maps")
        geosoil.map(make_model(kind="rf", code="pb"), scene, tmp_path / "maps")
        assert len(files(tmp_path / "maps")) == 4

    @pytest.mark.parametrize("out", ["taken", "taken/maps"])
    def test_a_file_in_the_place_of_a_folder_is_an_error(self, out: str, scene: Path, tmp_path: Path) -> None:
        (tmp_path / "taken").write_text("mine", encoding="utf-8")
        with pytest.raises(OutputError) as caught:
            geosoil.map(make_model(kind="rf"), scene, tmp_path / out)
        assert (caught.value.code, caught.value.exit_code) == ("GS-NOT-WRITABLE", 4)
        assert (tmp_path / "taken").read_text(encoding="utf-8") == "mine"

    def test_a_folder_in_the_place_of_a_map_is_an_error_and_no_map_is_left_half(
        self, scene: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "maps" / NAMES[1] / "inside").mkdir(parents=True)
        with pytest.raises(OutputError) as caught:
            geosoil.map(make_model(kind="rf"), scene, tmp_path / "maps", overwrite=True)
        assert caught.value.code == "GS-NOT-WRITABLE"
        assert (tmp_path / "maps" / NAMES[1] / "inside").is_dir()

    def test_a_finished_run_is_not_done_again_when_it_is_to_go_on(self, scene: Path, tmp_path: Path) -> None:
        model = make_model(kind="rf")
        first = geosoil.map(model, scene, tmp_path / "maps", tile_size=128)
        before = {path: path.stat().st_mtime_ns for path in first.maps}
        again = geosoil.map(model, scene, tmp_path / "maps", resume=True)
        assert {path: path.stat().st_mtime_ns for path in again.maps} == before
        assert again.record == first.record
        for one, other in zip(again.statistics, first.statistics, strict=True):
            assert (one.valid, one.mean) == (other.valid, other.mean)


def test_the_options_of_the_command_reach_the_maps(
    typed: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "Böden & 土壤 (1)"
    folder.mkdir()
    monkeypatch.chdir(folder)
    scene = make_scene(shape=(40, 150), bands=("dem",), classes=("rock",), missing=0.1, seed=4).compute()
    scene[1, 7, 9:12] = 8
    scene[1, 7, 9] = np.nan
    save_scene(folder / "die szene.tif", scene, crs=None)
    model = make_model(folder / "soc.gsm", bands=("elevation", "rock"), classes=("rock",), patch=3)
    ran = typed(
        "map", "soc.gsm", "die szene.tif", "neue karten", "--band-map", "elevation=dem", "--unseen", "missing",
        "--crs", "EPSG:32756", "--nodata", "-9999", "--co", "COMPRESS=ZSTD", "--statistics", "mean, Q0.5",
        "--tile-size", 128, "-j", 2, "--max-memory", "3GB", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    out = folder / "neue karten"
    stems = [f"soc_{top}-{bottom}cm_{name}.tif" for top, bottom in DEPTHS for name in ("mean", "Q0.5")]
    assert [Path(one["path"]).name for one in ran.json["maps"]] == stems
    assert ran.json["record"]["plan"]["num_workers"] == 2
    assert ran.json["record"]["plan"]["tile_size"] == 128
    scene[1, 7, 9:12] = np.nan
    wanted = patch_by_patch(model, scene.assign_coords(band=["elevation", "rock"]))
    np.testing.assert_allclose(values_of([out / stem for stem in stems[::2]]), wanted, rtol=5e-5)
    for one in ran.json["maps"]:
        with rasterio.open(folder / one["path"]) as file:
            assert (file.nodata, file.crs.to_epsg()) == (-9999, 32756)
            assert file.compression == rasterio.enums.Compression.zstd
            values = file.read(1, masked=True)
        assert one["valid_cells"] == values.count() == np.isfinite(wanted[0]).sum()
        assert one["mean"] == pytest.approx(float(values.astype(np.float64).mean()), rel=1e-9)
    assert "mapping: 100 %" in ran.err
