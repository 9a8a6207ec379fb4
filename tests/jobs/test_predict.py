"""Tables of spectra to tables of values: bands, intervals that hold, files that are whole or not there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geosoil.errors import GeosoilError, InputError, ModelError, OutputError, UsageError
from geosoil.io.spectra import open_spectra
from geosoil.jobs.predict import predict_spectra, summary
from geosoil.jobs.transfer import transfer
from geosoil.models.bundle import Bundle, load_model

from ..conftest import file_size_limit  # noqa: TID252  (tests are no package that is installed)
from .lent import BANDS, carbon_of, lent_study, make_lent, spectra_of, table_of
from .mapping import make_model

COLUMNS = ["sample", "soc_mean_g_per_kg", "soc_Q0.05_g_per_kg", "soc_Q0.95_g_per_kg"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and 400 new soils of the farm; not to be written to."""
    folder = make_lent(tmp_path_factory.mktemp("predicted"))
    transfer(lent_study(folder, validation={"folds": 10}), folder / "soc.gsm")
    rng = np.random.default_rng(11)
    amounts = 0.15 + 0.7 * rng.random((400, 10))
    carbon = carbon_of(amounts) * np.exp(0.04 * rng.standard_normal(400))
    names = [f"new{k:03d}" for k in range(400)]
    table_of(names, spectra_of(amounts, rng), soc_g_per_kg=carbon).to_csv(folder / "new.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def bundle(site: Path) -> Bundle:
    return load_model(site / "soc.gsm")


@pytest.fixture
def change(site: Path, tmp_path: Path) -> Callable[[Callable[[pd.DataFrame], pd.DataFrame]], Path]:
    """The new soils' table with its bands changed, as a file."""

    def write(how: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
        table = pd.read_csv(site / "new.csv")
        bands = how(table[[name for name in table.columns if name.isdigit()]])
        pd.concat([table[["id"]], bands], axis=1).to_csv(tmp_path / "changed.csv", index=False)
        return tmp_path / "changed.csv"

    return write


def refuses(error: type[GeosoilError], code: str, *args: object, **settings: object) -> GeosoilError:
    with pytest.raises(error) as caught:
        predict_spectra(*args, **settings)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert len(caught.value.message) < 100
    return caught.value


class TestValues:
    """What the table holds."""

    def test_intervals_hold_about_nine_of_ten_new_soils(self, site: Path) -> None:
        found = predict_spectra(site / "soc.gsm", site / "new.csv")
        truth = pd.read_csv(site / "new.csv")["soc_g_per_kg"].to_numpy()
        assert found.columns.tolist() == COLUMNS
        inside = (found[COLUMNS[2]] <= truth) & (truth <= found[COLUMNS[3]])
        assert 0.8 < inside.mean() < 0.97
        mean = found[COLUMNS[1]].to_numpy()
        assert 1 - np.mean((mean - truth) ** 2) / truth.var() > 0.5
        assert ((found[COLUMNS[2]] < mean) & (mean < found[COLUMNS[3]])).all()

    def test_intervals_widen_with_the_residuals_of_the_cross_validation(self, site: Path, bundle: Bundle) -> None:
        wide = replace(bundle, residuals=(2 * bundle.residuals[0],))
        narrow, other = (predict_spectra(one, site / "new.csv") for one in (bundle, wide))
        assert (other[COLUMNS[3]] - other[COLUMNS[2]] > narrow[COLUMNS[3]] - narrow[COLUMNS[2]]).all()

    def test_rows_keep_their_order_and_do_not_depend_on_the_others(self, site: Path) -> None:
        spectra = open_spectra(site / "new.csv")
        whole = predict_spectra(site / "soc.gsm", spectra)
        assert whole["sample"].tolist() == [f"new{k:03d}" for k in range(400)]
        some = predict_spectra(site / "soc.gsm", spectra[[7, 3, 390]])
        assert some["sample"].tolist() == ["new007", "new003", "new390"]
        np.testing.assert_allclose(
            some[COLUMNS[1:]], whole.loc[[7, 3, 390], COLUMNS[1:]].reset_index(drop=True), rtol=1e-5
        )

    def test_spectra_of_one_name_keep_their_rows_and_are_said(
        self, site: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        spectra = open_spectra(site / "new.csv")
        twice = spectra[[7, 3, 7]].assign_coords(sample=["a", "b", "a"])
        found = predict_spectra(site / "soc.gsm", twice)
        assert found["sample"].tolist() == ["a", "b", "a"]
        assert [one.getMessage() for one in caplog.records if "share" in one.getMessage()] == [
            "2 spectra share 1 names: a; each has a row of its own, in the order of the input"
        ]

    def test_finer_spectra_are_brought_to_the_models_bands(
        self, site: Path, change: Callable[[Callable[[pd.DataFrame], pd.DataFrame]], Path]
    ) -> None:
        fine = np.arange(1000.0, 2400.5, 5.0)

        def finer(bands: pd.DataFrame) -> pd.DataFrame:
            values = np.stack([np.interp(fine, BANDS, row) for row in bands.to_numpy()])
            return pd.DataFrame(values, columns=[f"{nm:g}" for nm in fine])

        wanted, found = predict_spectra(site / "soc.gsm", site / "new.csv"), predict_spectra(
            site / "soc.gsm", change(finer)
        )  # fmt: skip
        np.testing.assert_allclose(found[COLUMNS[1]], wanted[COLUMNS[1]], rtol=1e-3)

    def test_percent_and_absorbance_give_the_values_of_reflectance(
        self, site: Path, change: Callable[[Callable[[pd.DataFrame], pd.DataFrame]], Path]
    ) -> None:
        wanted = predict_spectra(site / "soc.gsm", site / "new.csv")[COLUMNS[1]]
        percent = predict_spectra(site / "soc.gsm", change(lambda bands: 100 * bands), quantity="percent")
        np.testing.assert_allclose(percent[COLUMNS[1]], wanted, rtol=1e-4)
        dark = predict_spectra(
            site / "soc.gsm", change(lambda bands: bands.apply(lambda one: -np.log10(one))), quantity="absorbance"
        )
        np.testing.assert_allclose(dark[COLUMNS[1]], wanted, rtol=1e-3)

    def test_a_spectrum_with_a_gap_has_no_value_and_the_others_do(
        self, site: Path, change: Callable[[Callable[[pd.DataFrame], pd.DataFrame]], Path]
    ) -> None:
        def holed(bands: pd.DataFrame) -> pd.DataFrame:
            bands = bands.copy()
            bands.iloc[5, 30] = np.nan
            return bands

        found = predict_spectra(site / "soc.gsm", change(holed))
        assert np.flatnonzero(found[COLUMNS[1]].isna()).tolist() == [5]
        assert found.loc[5, COLUMNS[1:]].isna().all()
        assert "without a value: 1" in summary(found, "out.csv")


class TestFiles:
    """Whole or not at all."""

    @pytest.mark.parametrize("name", ["soc.csv", "soc.parquet"])
    def test_what_is_written_is_what_is_returned(self, site: Path, tmp_path: Path, name: str) -> None:
        found = predict_spectra(site / "soc.gsm", site / "new.csv", tmp_path / name, statistics=["mean", "Q0.5"])
        read = pd.read_csv(tmp_path / name) if name.endswith("csv") else pd.read_parquet(tmp_path / name)
        pd.testing.assert_frame_equal(read, found, rtol=1e-5)
        assert [path.name for path in tmp_path.iterdir()] == [name]
        before = (tmp_path / name).read_bytes()
        refuses(OutputError, "GS-OUTPUT-EXISTS", site / "soc.gsm", site / "new.csv", tmp_path / name)
        assert (tmp_path / name).read_bytes() == before
        again = predict_spectra(site / "soc.gsm", site / "new.csv", tmp_path / name, overwrite=True)
        assert again.columns.tolist() == COLUMNS
        assert (tmp_path / name).read_bytes() != before

    def test_a_full_disk_leaves_the_old_table_and_nothing_else(self, site: Path, tmp_path: Path) -> None:
        out = tmp_path / "soc.csv"
        out.write_text("earlier\n", encoding="utf-8")
        with file_size_limit(2000), pytest.raises(OSError):  # noqa: PT011 - whatever the system says
            predict_spectra(site / "soc.gsm", site / "new.csv", out, overwrite=True)
        assert out.read_text(encoding="utf-8") == "earlier\n"
        assert [path.name for path in tmp_path.iterdir()] == ["soc.csv"]


class TestRefusals:
    """One clear error each, and nothing written."""

    def test_bands_that_the_spectra_do_not_reach(
        self, site: Path, tmp_path: Path, change: Callable[[Callable[[pd.DataFrame], pd.DataFrame]], Path]
    ) -> None:
        short = change(lambda bands: bands[[name for name in bands.columns if float(name) <= 2000]])
        out = tmp_path / "out.csv"
        error = refuses(InputError, "GS-RESAMPLE", site / "soc.gsm", short, out, quantity="reflectance")
        assert "20 bands are not covered" in error.message
        assert "2020" in error.render()
        assert error.hint
        assert not (tmp_path / "out.csv").exists()

    def test_a_model_of_covariates_takes_no_spectra(self, site: Path, tmp_path: Path) -> None:
        model = make_model(tmp_path / "soc.gsm", kind="rf")
        error = refuses(ModelError, "GS-MODEL-SPECTRA", model, site / "new.csv", tmp_path / "out.csv")
        assert "geosoil map" in error.hint
        assert not (tmp_path / "out.csv").exists()

    def test_units_that_are_mixed_up(
        self, site: Path, tmp_path: Path, change: Callable[[Callable[[pd.DataFrame], pd.DataFrame]], Path]
    ) -> None:
        percent = change(lambda bands: 100 * bands)
        out = tmp_path / "out.csv"
        refuses(InputError, "GS-SPECTRA-QUANTITY", site / "soc.gsm", percent, out, quantity="reflectance")
        assert not out.exists()

    def test_other_kinds_of_files_and_statistics(self, site: Path, tmp_path: Path) -> None:
        refuses(UsageError, "GS-OUTPUT", site / "soc.gsm", site / "new.csv", tmp_path / "out.xlsx")
        with pytest.raises(GeosoilError) as caught:
            predict_spectra(site / "soc.gsm", site / "new.csv", tmp_path / "out.csv", statistics=["median"])
        assert caught.value.code.startswith("GS-")
        refuses(InputError, "GS-FILE-MISSING", site / "soc.gsm", tmp_path / "none.csv", tmp_path / "out.csv")
        assert not list(tmp_path.iterdir())

    def test_spectra_whose_wavelengths_do_not_rise(self, site: Path) -> None:
        turned = open_spectra(site / "new.csv")[:, ::-1]
        refuses(InputError, "GS-WAVELENGTH", site / "soc.gsm", turned)
