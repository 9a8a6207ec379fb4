"""`geosoil.invert` from files to a model of several properties: scores, counts, model file, report, points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from odc.geo.xr import xr_zeros

import geosoil
from geosoil.errors import InputError, ModelError, OutputError, UsageError
from geosoil.io.raster import open_scene
from geosoil.io.spectra import open_spectra
from geosoil.jobs.inversion import cross_validate_spectra, folds_of_pairs, recipe_of_spectra
from geosoil.jobs.invert import invert, summary
from geosoil.jobs.pairing import build_pairs
from geosoil.jobs.predict import predict_spectra
from geosoil.models.bundle import Bundle, load_model
from geosoil.models.spectral import SpectralPredictor
from geosoil.testing import Landscape, make_spectral_samples
from geosoil.testing.ground import Surface
from geosoil.testing.sensors import families

from .spectra import CODES, LAND, study_of


@dataclass(frozen=True)
class Made:
    """A model and the files beside it."""

    bundle: Bundle
    folder: Path


@pytest.fixture(scope="module")
def made(tailings: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A model of three properties, trained once."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        bundle = invert(
            study_of(tailings),
            folder / "soil.gsm",
            report=folder / "soil.html",
            predictions=folder / "soil.gpkg",
        )
    return Made(bundle, folder)


class TestModel:
    """What the model holds."""

    def test_it_predicts_each_property_at_the_samples_depth(self, made: Made) -> None:
        assert [output.stem for output in made.bundle.outputs()] == [f"{code}_0-20cm_mean" for code in CODES]
        card = made.bundle.card
        assert (card.kind, card.quantity, made.bundle.patch) == ("spectral", "reflectance", 1)
        assert len(card.wavelength_nm) == len(made.bundle.bands) > 100
        assert made.bundle.card.settings["masks"]["ndvi"] == 0.3

    def test_scores_are_those_of_a_nested_cross_validation(self, made: Made, tailings: Path) -> None:
        study = study_of(tailings)
        data = build_pairs(study)
        (checked,) = cross_validate_spectra(
            data, [recipe_of_spectra(study)], folds_of_pairs(data, "random", 3, study.seed), study.seed
        )
        for place, part in enumerate(made.bundle.card.properties):
            left = data.values[:, place] - checked.predicted[:, place]
            (row,) = (one for one in part.scores if one["depth"] == "all")
            assert row["RMSE"] == pytest.approx(np.sqrt((left**2).mean()))
            assert row["R2"] == pytest.approx(
                1 - (left**2).sum() / ((data.values[:, place] - data.values[:, place].mean()) ** 2).sum()
            )
            assert row["n"] == 60
            assert row["split"] == "random 3-fold cross-validation by sample"

    def test_the_truth_is_found_as_far_as_the_image_shows_it(self, made: Made) -> None:
        found = {part.code: part.scores[-1]["R2"] for part in made.bundle.card.properties}
        assert found["som"] > 0.25

    def test_counts_bands_and_features_are_in_the_card(self, made: Made) -> None:
        card = made.bundle.card
        assert card.counts["profiles"] == 60
        assert card.counts["neighbours"] > 0
        assert card.counts["masked"] == 0
        assert card.selection["bands"][0] == f"{len(made.bundle.bands)} of 166 bands stay"
        assert isinstance(made.bundle.predictor, SpectralPredictor)
        for code, head in zip(CODES, made.bundle.predictor.heads, strict=True):
            assert len(card.selection["kept"][code]) == len(head.support) > 1
        told = summary(made.bundle, "soil.gsm")
        for words in ("plsr on mixed spectra", "60 samples", "of 166 bands stay", "written: soil.gsm"):
            assert words in told

    def test_a_model_file_comes_back_as_it_was(self, made: Made, tmp_path: Path) -> None:
        back = load_model(made.folder / "soil.gsm")
        assert back.sha256 == made.bundle.sha256
        assert back.card.model_dump(mode="json") == made.bundle.card.model_dump(mode="json")
        raw = np.random.default_rng(0).random((9, len(back.bands), 1, 1)).astype(np.float32)
        for statistic in ("mean", "Q0.05", "Q0.95"):
            assert np.array_equal(back.predict(raw, statistic), made.bundle.predict(raw, statistic))
        assert load_model(back.save(tmp_path / "again.gsm")).sha256 == back.sha256

    def test_another_number_of_bands_is_refused(self, made: Made) -> None:
        few = len(made.bundle.bands) - 1
        with pytest.raises(ModelError) as caught:
            made.bundle.predict(np.zeros((4, few, 1, 1), np.float32))
        assert caught.value.code == "GS-MODEL-FEATURES"
        with pytest.raises(ModelError):
            made.bundle.predict_block(np.zeros((few, 3, 3), np.float32))

    @pytest.mark.parametrize("share", [None, 1.0, 0.3])
    @pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut out"])
    def test_cells_are_predicted_alike_wherever_they_are_in_memory(
        self, made: Made, cut: bool, share: float | None
    ) -> None:
        bands, rng = len(made.bundle.bands), np.random.default_rng(0)
        held = rng.uniform(0.05, 0.6, (bands + 2, 60, 90)).astype(np.float32)
        held[7, 10:20, 30:33] = np.nan
        raw = held[:, 5:50, 11:81] if cut else np.ascontiguousarray(held[:, 5:50, 11:81])
        places = rng.permutation(bands + 2)[:bands]
        wanted = None if share is None else rng.random(raw.shape[1:]) < share
        cells = raw[places].reshape(bands, -1).T[:, :, None, None]
        expected = made.bundle.predict(np.ascontiguousarray(cells)).T.reshape(-1, *raw.shape[1:])
        if wanted is not None:
            expected[:, ~wanted] = np.nan
        found = made.bundle.predict_block(raw, places=places.tolist(), wanted=wanted)
        np.testing.assert_allclose(found, expected, rtol=2e-4)
        assert np.isfinite(found).any()

    def test_equal_seeds_give_equal_models(
        self, made: Made, tailings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        assert invert(study_of(tailings)).sha256 == made.bundle.sha256

    @pytest.mark.parametrize("at", [0.2, 0.5, 0.9, 0.999])
    def test_a_damaged_file_is_refused(self, at: float, made: Made, tmp_path: Path) -> None:
        content = bytearray((made.folder / "soil.gsm").read_bytes())
        content[int(at * len(content))] ^= 8
        (tmp_path / "torn.gsm").write_bytes(content)
        with pytest.raises(ModelError) as caught:
            load_model(tmp_path / "torn.gsm")
        assert caught.value.exit_code == 5

    def test_quantiles_lie_in_order_and_within_the_property_s_range(self, made: Made, tailings: Path) -> None:
        data = build_pairs(study_of(tailings))
        raw = data.satellite.astype(np.float32)[:, :, None, None]
        low, high = made.bundle.predict(raw, "Q0.05"), made.bundle.predict(raw, "Q0.95")
        assert (low < high).all()
        assert (low >= 0).all()
        within = (data.values >= low) & (data.values <= high)
        assert within.mean() > 0.8


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]


class TestTables:
    """The model of a cube's spectra, given tables."""

    def test_spectra_of_a_laboratory_are_said_and_predicted(
        self, made: Made, tailings: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        found = predict_spectra(made.bundle, tailings / "lab/spectra.csv")
        assert np.isfinite(found.iloc[:, 1]).all()
        (told,) = warnings_of(caplog)
        assert told.startswith(f"model 'Tailings' expects satellite spectra of {len(made.bundle.bands)} bands, ")
        assert "translator (ds)" in told
        assert "as a laboratory's have" in told

    def test_spectra_of_the_sensor_s_bands_are_not_doubted_and_give_the_values_of_the_map(
        self, made: Made, tailings: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        cube = open_scene(tailings / "cube.tif")
        cells = cube[np.flatnonzero(cube["good"].values), 30:34, 30].compute()
        table = pd.DataFrame(cells.values.T, columns=[f"{nm:.2f}" for nm in cells["wavelength"].values])
        table.insert(0, "id", ["a", "b", "c", "d"])
        found = predict_spectra(made.bundle, open_spectra(table, quantity="reflectance"))
        assert not caplog.messages
        mapped = geosoil.predict(made.bundle, cube, masks=None)[0, 30:34, 30]
        np.testing.assert_allclose(found["som_mean_g_per_kg"], mapped, rtol=1e-4)

    def test_where_nothing_tells_the_kinds_apart_that_is_said(
        self, made: Made, tailings: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        card = made.bundle.card.model_copy(update={"cell": (0.0, 0.0)})
        predict_spectra(replace(made.bundle, card=card), tailings / "lab/spectra.csv")
        (told,) = warnings_of(caplog)
        assert "nothing tells whether these are such" in told


class TestFiles:
    """What is written beside the model."""

    def test_points_hold_observed_and_held_out_values(self, made: Made, tailings: Path) -> None:
        points = gpd.read_file(made.folder / "soil.gpkg")
        assert len(points) == 180
        assert {"property", "profile", "observed", "predicted", "residual", "fold", "unit"} <= set(points.columns)
        samples = pd.read_csv(tailings / "lab/samples.csv")
        row = points[(points["profile"] == "S009") & (points["property"] == "cu")].iloc[0]
        truth = samples[(samples["sample_id"] == "S009") & (samples["property"] == "cu")].iloc[0]
        assert row["observed"] == pytest.approx(truth["value"])
        assert (row.geometry.x, row.geometry.y) == pytest.approx((truth["x"], truth["y"]), abs=0.01)
        assert row["residual"] == pytest.approx(row["observed"] - row["predicted"])
        assert points.crs == LAND.crs

    def test_the_report_tells_properties_samples_and_bands(self, made: Made) -> None:
        text = (made.folder / "soil.html").read_text(encoding="utf-8")
        for words in ("Soil organic matter", "Arsenic", "Copper", "of 166 bands stay", "3-fold", "masks: "):
            assert words in text
        assert "<script" not in text

    def test_nothing_is_written_over_or_half(self, made: Made, tailings: Path, tmp_path: Path) -> None:
        (tmp_path / "soil.html").write_text("mine", encoding="utf-8")
        with pytest.raises(OutputError) as caught:
            invert(study_of(tailings), tmp_path / "soil.gsm", report=tmp_path / "soil.html")
        assert caught.value.code == "GS-OUTPUT-EXISTS"
        assert [path.name for path in tmp_path.iterdir()] == ["soil.html"]
        with pytest.raises(UsageError, match=r"soil\.tif"):
            invert(study_of(tailings), tmp_path / "soil.tif")
        with pytest.raises(InputError):
            invert(study_of(tailings, spectra={"laboratory": tmp_path / "none.csv"}), tmp_path / "soil.gsm")
        assert [path.name for path in tmp_path.iterdir()] == ["soil.html"]


class TestChoices:
    """Settings of a study that change what is trained."""

    def test_satellite_spectra_need_no_laboratory(self, tailings: Path) -> None:
        study = study_of(tailings, spectra={"laboratory": None}, invert={"spectra": "satellite", "properties": ["som"]})
        bundle = invert(study)
        assert isinstance(bundle.predictor, SpectralPredictor)
        assert bundle.predictor.translator is None
        assert all(name.startswith("satellite") for name in bundle.card.selection["kept"]["som"])
        with pytest.raises(InputError) as caught:
            invert(study_of(tailings, spectra={"laboratory": None}, scene={"path": "not read.tif"}))
        assert caught.value.code == "GS-SPECTRA-MISSING"
        assert "[spectra]" in caught.value.hint

    def test_masks_that_were_not_used_are_not_in_the_model(self, tailings: Path) -> None:
        study = study_of(
            tailings, masks={"use": False}, invert={"spectra": "satellite", "properties": ["som"], "selection": "none"}
        )
        assert "masks" not in invert(study).card.settings

    def test_spatial_folds_are_said(self, tailings: Path) -> None:
        study = study_of(
            tailings,
            validation={"scheme": "spatial", "block_m": 300},
            invert={"spectra": "satellite", "properties": ["som"], "selection": "none"},
        )
        assert invert(study).card.properties[0].scores[0]["split"].startswith("spatial 3-fold")

    def test_points_need_places(self, tailings: Path, tmp_path: Path) -> None:
        data = build_pairs(study_of(tailings))
        frame = pd.DataFrame(data.satellite, columns=[f"{one:.3f}" for one in data.wavelength_nm])
        frame.insert(0, "sample_id", data.names)
        satellite = open_spectra(frame, quantity="reflectance")
        values = pd.DataFrame({"sample_id": data.names, "som [g/kg]": data.values[:, 0]})
        values.to_csv(tmp_path / "values.csv", index=False)
        study = study_of(
            tailings,
            samples={"path": tmp_path / "values.csv", "crs": None, "depth": "0-20"},
            scene={"path": None},
            invert={"properties": ["som"]},
        )
        with pytest.raises(UsageError) as caught:
            invert(study, predictions=tmp_path / "points.gpkg", satellite=satellite)
        assert caught.value.code == "GS-POINTS"
        bundle = invert(study, satellite=satellite)
        assert bundle.card.crs == ""
        assert bundle.card.counts["profiles"] == 60


def clean_scene(landscape: Landscape) -> xr.DataArray:
    """The bare soil of a landscape as a perfect sensor sees it, dry and without anything on it."""
    scene = open_scene(_like(landscape))
    detectors = families("ZY1E").detectors()
    centres = np.concatenate([one.wavelength_nm for one in detectors])
    widths = np.concatenate([one.fwhm_nm for one in detectors])
    ground = landscape.window((0, landscape.shape[0]), (0, landscape.shape[1]))
    values = np.asarray(Surface.at(centres, widths).soil(ground), np.float32)
    values = values.reshape(*landscape.shape, -1).transpose(2, 0, 1)
    return xr.DataArray(
        np.ascontiguousarray(values),
        dims=("band", "y", "x"),
        coords={
            "band": [f"b{number}" for number in range(len(centres))],
            "wavelength": ("band", centres),
            "fwhm": ("band", widths),
            "y": scene.y,
            "x": scene.x,
            "spatial_ref": scene.spatial_ref,
        },
        attrs={"quantity": "reflectance"},
    ).chunk()


def _like(landscape: Landscape) -> xr.DataArray:
    """One empty band on the landscape's grid."""
    return xr_zeros(landscape.geobox, "float32").expand_dims(band=["nothing"])


def test_a_known_truth_is_recovered_from_a_clean_cube() -> None:
    samples = make_spectral_samples(LAND, 90, error=0.0)
    # What lies at the middle of the cell, so that the cube shows just this.
    column = np.floor((samples.samples.geometry.x - LAND.left) / LAND.resolution)
    row = np.floor((LAND.top - samples.samples.geometry.y) / LAND.resolution)
    x, y = LAND.left + (column + 0.5) * LAND.resolution, LAND.top - (row + 0.5) * LAND.resolution
    ground = LAND.ground(x.to_numpy(), y.to_numpy())
    table = samples.samples.assign(
        value=[float(ground.value(code)[at]) for at, code in enumerate(samples.samples["property"])]
    )
    table.attrs = samples.samples.attrs
    study = geosoil.Study(
        property="som",
        masks={"use": False},
        invert={"properties": ["som"], "spectra": "mixed", "selection": "none"},
        validation={"folds": 3},
    )
    bundle = invert(
        study,
        samples=table,
        scene=clean_scene(LAND),
        laboratory=open_spectra(samples.spectra, quantity="reflectance"),
    )
    assert bundle.card.properties[0].scores[-1]["R2"] > 0.9
