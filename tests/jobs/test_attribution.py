"""Attributions from model files and data to tables, reports and maps."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr

import geosoil
from geosoil.errors import GeosoilError, InputError, UsageError
from geosoil.jobs.attribution_told import summary
from geosoil.jobs.predict import on_model
from geosoil.models.bundle import Bundle, load_model
from geosoil.models.spectral import SpectralPredictor
from geosoil.report.absorptions import absorptions, constituents_at
from geosoil.report.importance import compare_importance, important_windows, smoothed
from geosoil.testing import make_samples, make_scene

from .explaining import CLAY_NM, GRID_NM, OTHER_NM, made_spectra, spectra_table, spectral_model
from .lent import lent_study, make_lent
from .mapping import BANDS, make_model, make_stack

if TYPE_CHECKING:
    from geosoil.types import Float64

explain = partial(geosoil.explain, quantity="reflectance")


def near(table: pd.DataFrame, nm: float, reach: float = 80) -> float:
    """Share of importance round a wavelength."""
    return float(table.loc[(table["wavelength"] - nm).abs() <= reach, "share"].sum())


@pytest.mark.parametrize("head", ["plsr", "svr", "rf"])
def test_the_feature_that_makes_the_value_is_found(head: str) -> None:
    found = explain(spectral_model(head), spectra_table(30), draws=100)
    assert near(found.table, CLAY_NM) > 2 * near(found.table, 1500.0)
    one = found.outputs[0]
    assert one.attribution.values.shape == (30, len(GRID_NM))
    # More reflectance where clay absorbs is less clay.
    deepest = one.table.loc[one.table["wavelength"] == 2200.0].iloc[0]
    assert deepest["direction"] < -0.5
    assert deepest["mean_low"] < 0 < deepest["mean_high"]
    assert found.samples[0] == "S000"


def test_predictions_are_those_of_the_model_and_contributions_add_up() -> None:
    model = spectral_model("svr", steps=("absorbance", "snv"))
    table = spectra_table(12)
    found = explain(model, table, draws=400, background=spectra_table(60, seed=8))
    spectra = table.drop(columns="sample_id").to_numpy()
    (one,) = found.outputs
    assert isinstance(model.predictor, SpectralPredictor)
    predicted: Float64 = model.predictor.predict_spectra(spectra)[:, 0]
    np.testing.assert_allclose(one.attribution.output, predicted, atol=1e-4)
    assert one.attribution.gap_share < 0.05
    assert found.record["background"] == {"source": "spectra", "rows": 60}
    assert "absorbance" in found.record["outputs"][0]["why"]
    assert "gap: " in summary(found)


def test_finer_spectra_are_brought_to_the_model_s_bands() -> None:
    model = spectral_model()
    fine = np.arange(450.0, 2451.0, 10.0)
    values, _ = made_spectra(10, fine, seed=4)
    frame = pd.DataFrame(values, columns=[f"{nm:g}" for nm in fine])
    found = explain(model, frame)
    coarse = pd.DataFrame(values[:, ::5][:, 1:-1], columns=[f"{nm:g}" for nm in GRID_NM])
    same = explain(model, coarse)
    np.testing.assert_allclose(found.outputs[0].attribution.values, same.outputs[0].attribution.values, atol=1e-5)


def test_spectra_that_do_not_reach_are_refused_and_gaps_are_left_out() -> None:
    model = spectral_model()
    with pytest.raises(InputError) as error:
        explain(model, spectra_table(5, np.arange(500.0, 1500.0, 50.0)))
    assert error.value.code == "GS-RESAMPLE"
    gaps = spectra_table(6)
    gaps.iloc[2, 4] = np.nan
    found = explain(model, gaps)
    assert found.samples == ("S000", "S001", "S003", "S004", "S005")
    assert any("S002" in note for note in found.record["data"]["notes"])


def test_another_model_shares_loses_and_wins_wavelengths() -> None:
    own, other = spectral_model(name="target"), spectral_model("svr", name="source", towards=OTHER_NM, code="ph")
    found = explain(own, spectra_table(40), against=other, draws=60)
    told = found.record["outputs"][0]["against"]
    changes = pd.DataFrame(told["changes"])
    new, lost = changes[changes["change"] == "new"], changes[changes["change"] == "lost"]
    assert ((new["first"] <= CLAY_NM + 50) & (new["last"] >= CLAY_NM - 50)).any()
    assert ((lost["first"] <= OTHER_NM + 50) & (lost["last"] >= OTHER_NM - 50)).any()
    assert "kaolinite" in " ".join(new["constituents"])
    itself = explain(own, spectra_table(40), against=own)
    kinds = {row["change"] for row in itself.record["outputs"][0]["against"]["changes"]}
    assert kinds == {"shared"}
    assert itself.record["outputs"][0]["against"]["overlap"] == pytest.approx(1)


def test_what_is_written_is_whole_and_can_be_read(tmp_path: Path) -> None:
    spectra_table(20).to_csv(tmp_path / "reflectance.csv", index=False)
    path = spectral_model("resnet").save(tmp_path / "clay.gsm")
    other = spectral_model("plsr", name="source").save(tmp_path / "other.gsm")
    calls: list[str] = []
    found = explain(
        path,
        tmp_path / "reflectance.csv",
        tmp_path / "why",
        against=other,
        draws=60,
        progress=lambda done, total, message: calls.append(message),
    )
    assert {file.name for file in found.files} == {file.name for file in (tmp_path / "why").iterdir()}
    table = pd.read_csv(tmp_path / "why" / "attributions.csv")
    assert table["property"].unique().tolist() == ["clay"]
    record = json.loads((tmp_path / "why" / "explain.json").read_text(encoding="utf-8"))
    assert record["model"]["sha256"] == load_model(path).sha256
    assert record["outputs"][0]["draws"] == 60
    with np.load(tmp_path / "why" / "attributions.npz") as arrays:
        values = arrays["clay_0-20cm_attributions.values"]
        np.testing.assert_allclose(np.abs(values).mean(axis=0), table["mean_abs"], rtol=1e-4)
        assert arrays["samples"].tolist() == [f"S{n:03d}" for n in range(20)]
    page = (tmp_path / "why" / "report.html").read_text(encoding="utf-8")
    assert "Made clay" in page
    assert "would move the contributions by about" in page
    assert "attributing Made clay, 0-20 cm" in calls
    before = {file: file.read_bytes() for file in (tmp_path / "why").iterdir()}
    with pytest.raises(GeosoilError) as error:
        explain(path, tmp_path / "reflectance.csv", tmp_path / "why", draws=5)
    assert error.value.code == "GS-OUTPUT-EXISTS"
    again = explain(path, tmp_path / "reflectance.csv", tmp_path / "why", against=other, draws=60, overwrite=True)
    assert {file: file.read_bytes() for file in (tmp_path / "why").iterdir() if file.suffix != ".npz"} == {
        file: content for file, content in before.items() if file.suffix != ".npz"
    }
    assert again.record == found.record


def test_nothing_is_left_of_a_run_that_fails(tmp_path: Path) -> None:
    def stop(done: int, total: int, message: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explain(spectral_model("svr"), spectra_table(6), tmp_path / "why", draws=5, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["cnn", "rf"])
def test_covariates_are_explained_at_samples_depth_by_depth(kind: str, tmp_path: Path) -> None:
    model = make_model(kind=kind, bands=("elevation", "twi", "rock"), classes=("rock",))
    scene = make_scene(shape=(40, 50), bands=("elevation", "twi"), classes=("rock",), seed=3)
    samples = make_samples(scene, 30)
    found = explain(model, samples, tmp_path / "why", scene=scene, draws=50)
    assert found.table["depth"].unique().tolist() == [str(target.depth) for target in model.targets]
    assert found.table["input"].unique().tolist() == ["elevation", "twi", "rock"]
    assert (tmp_path / "why" / "covariates.png").exists()
    for one in found.outputs:
        assert one.attribution.values.shape == (30, 3)
        assert one.attribution.gap_share < (0.5 if kind == "cnn" else 1e-4)
        assert np.isnan(one.inputs[:, 2]).all()
        assert np.isfinite(one.inputs[:, :2]).all()


def test_a_part_of_a_scene_becomes_a_map_of_contributions(tmp_path: Path) -> None:
    scene = make_stack(tmp_path / "stack.tif", (40, 60))
    model = make_model(kind="rf")
    found = explain(model, tmp_path / "stack.tif", tmp_path / "why", window=(10, 5, 20, 15))
    with rasterio.open(tmp_path / "why" / "soc_0-5cm_attributions.tif") as file:
        assert file.descriptions == (*BANDS, "prediction")
        assert (file.height, file.width) == (15, 20)
        assert file.transform == scene.odc.geobox[5:20, 10:30].affine
        assert file.crs.to_epsg() == 32755
        values = file.read()
        base = float(file.tags()["base"])
    whole = np.isfinite(scene.values[:, 5:20, 10:30]).all(axis=0)
    assert (np.isfinite(values).all(axis=0) == whole).all()
    np.testing.assert_allclose(values[:-1, whole].sum(axis=0) + base, values[-1, whole], atol=1e-4)
    assert found.record["maps"][0]["gap_share"] < 1e-4
    assert found.record["background"]["rows"] <= 1000


def test_a_region_is_the_cells_that_it_touches(tmp_path: Path) -> None:
    scene = make_stack(tmp_path / "stack.tif", (40, 60), missing=0.0)
    box = scene.odc.geobox[5:20, 10:30].extent.boundingbox
    inner = (box.left + 3, box.bottom + 3, box.right - 3, box.top - 3)
    model = make_model(kind="rf")
    explain(model, tmp_path / "stack.tif", tmp_path / "a", region=inner)
    explain(model, tmp_path / "stack.tif", tmp_path / "b", window=(10, 5, 20, 15))
    name = "soc_5-15cm_attributions.tif"
    with rasterio.open(tmp_path / "a" / name) as a, rasterio.open(tmp_path / "b" / name) as b:
        assert a.transform == b.transform
        np.testing.assert_array_equal(a.read(), b.read())


def test_a_cube_is_mapped_in_windows_of_wavelength(tmp_path: Path) -> None:
    spectra, _ = made_spectra(12 * 9)
    cube = xr.DataArray(
        spectra.T.reshape(len(GRID_NM), 12, 9).astype(np.float32),
        dims=("band", "y", "x"),
        coords={"band": [f"b{n}" for n in range(len(GRID_NM))], "y": -30.0 * np.arange(12), "x": 30.0 * np.arange(9)},
        attrs={"quantity": "reflectance", "units": "1"},
    )
    cube = cube.assign_coords(wavelength=("band", GRID_NM)).odc.assign_crs("EPSG:32755")
    model = spectral_model()
    explain(model, cube, tmp_path / "why", window=(0, 0, 9, 12), step_nm=500)
    with rasterio.open(tmp_path / "why" / "clay_0-20cm_attributions.tif") as file:
        assert file.descriptions == ("500-1000 nm", "1000-1500 nm", "1500-2000 nm", "2000-2500 nm", "prediction")
        values = file.read()
        base = float(file.tags()["base"])
    np.testing.assert_allclose(values[:-1].sum(axis=0) + base, values[-1], atol=1e-5)
    assert np.abs(values[3]).mean() > np.abs(values[1]).mean()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"draws": 0}, "GS-EXPLAIN-DRAWS"),
        ({"properties": ["ph"]}, "GS-EXPLAIN-PROPERTY"),
        ({"scene": None}, "GS-EXPLAIN-SCENE"),
        ({"window": (0, 0, 5, 5)}, "GS-EXPLAIN-SCENE"),
        ({"against": "spectral"}, "GS-EXPLAIN-AGAINST"),
        ({"step_nm": 0}, "GS-EXPLAIN-STEP"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(changes: dict[str, Any], code: str, tmp_path: Path) -> None:
    scene = make_scene(shape=(40, 50), bands=BANDS, seed=3)
    changes = {"scene": scene} | changes
    if "against" in changes:
        changes["against"] = spectral_model()
    with pytest.raises(UsageError) as error:
        explain(make_model(kind="rf"), make_samples(scene, 30), tmp_path / "why", **changes)
    assert error.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_a_region_outside_the_scene_is_refused(tmp_path: Path) -> None:
    make_stack(tmp_path / "stack.tif", (20, 20))
    for where in ({"window": (100, 0, 5, 5)}, {"region": (0.0, 0.0, 1.0, 1.0)}):
        with pytest.raises(UsageError) as error:
            explain(make_model(kind="rf"), tmp_path / "stack.tif", None, **where)
        assert error.value.code == "GS-REGION"


def test_samples_outside_the_scene_are_refused() -> None:
    scene = make_scene(shape=(40, 50), bands=BANDS, seed=3)
    far = make_samples(make_scene(shape=(40, 50), bands=BANDS, seed=3, left=100_000.0), 30)
    with pytest.raises(InputError) as error:
        explain(make_model(kind="rf"), far, scene=scene)
    assert error.value.code == "GS-SAMPLES-OUTSIDE"


def test_windows_hold_half_of_the_importance_and_smoothing_keeps_its_sum() -> None:
    nm = np.arange(400.0, 2400.0, 10.0)
    curve = np.exp(-(((nm - 2200) / 40) ** 2)) + 0.3 * np.exp(-(((nm - 900) / 40) ** 2))
    windows = important_windows(nm, curve)
    assert windows[0].first_nm < 2200 < windows[0].last_nm
    assert 0.5 <= sum(one.share for one in windows) < 0.6
    assert smoothed(nm, curve).sum() == pytest.approx(curve.sum(), rel=1e-3)
    assert important_windows(nm, np.zeros(len(nm))) == []


def test_models_without_common_wavelengths_share_nothing() -> None:
    a, b = np.arange(400.0, 900.0, 10.0), np.arange(1500.0, 2000.0, 10.0)
    changes, alike = compare_importance(a, np.ones(50), b, np.ones(50))
    assert changes.empty
    assert np.isnan(alike["overlap"])


def test_the_table_of_absorptions_is_in_order() -> None:
    for one in absorptions():
        assert list(one.nm) == sorted(one.nm)
        assert 350 <= one.nm[0] <= one.nm[-1] <= 2500
        assert 0 < one.width <= 50
        assert one.source
    assert any("haematite" in text for text in constituents_at(529.0))
    assert any("carbonates" in text for text in constituents_at(2330.0, 2340.0))


def test_every_model_file_that_is_trained_can_be_explained(tailings: Path) -> None:
    bundle: Bundle = geosoil.invert(tailings / "study.toml")
    found = explain(bundle, tailings / "lab/spectra.csv", properties=["cu"])
    assert [one.target.soil_property.code for one in found.outputs] == ["cu"]
    assert found.outputs[0].attribution.gap_share < 1e-4
    assert "satellite bands behind them" in " ".join(found.record["outputs"][0]["notes"])


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples with spectra, and a library; not to be written to."""
    return make_lent(tmp_path_factory.mktemp("explained"))


@pytest.mark.parametrize(
    ("kind", "head"), [("tuned", "resnet"), ("tuned", "cnn"), ("instances-tuned", "resnet"), ("mixture", None)]
)
def test_what_is_explained_of_a_transfer_is_all_that_it_predicts(kind: str, head: str | None, farm: Path) -> None:
    model = geosoil.transfer(lent_study(farm, transfer={"kind": kind, **({"head": head} if head else {})}))
    spectra = geosoil.open_spectra(farm / "lab.csv")
    (one,) = explain(model, spectra, draws=16).outputs
    assert isinstance(model.predictor, SpectralPredictor)
    predicted = model.predictor.predict_spectra(on_model(spectra, model))[:, 0]
    np.testing.assert_allclose(one.attribution.output, predicted, atol=1e-4 * predicted.std())
    np.testing.assert_allclose(
        one.attribution.base + one.attribution.values.sum(1), predicted, atol=0.02 * predicted.std()
    )
