"""Samples, cube and laboratory spectra joined by name: what comes in, what is left out, and what is said of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio

from geosoil.bands import Bands
from geosoil.config import Study
from geosoil.errors import InputError, UsageError
from geosoil.io.raster import open_scene
from geosoil.io.spectra import open_spectra
from geosoil.jobs.counts import counts_of, say_counts
from geosoil.jobs.pairing import build_pairs, mask_rules
from geosoil.jobs.pairs import PairSet
from geosoil.prep.masks import MaskRules
from geosoil.testing import make_spectral_samples
from geosoil.testing.ground import Surface

from .spectra import CODES, LAND, study_of


@pytest.fixture(scope="module")
def tailings(tailings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with every third band, which is read three times as fast."""
    folder = tmp_path_factory.mktemp("thin")
    shutil.copytree(tailings / "lab", folder / "lab")
    with rasterio.open(tailings / "cube.tif") as cube:
        chosen = list(range(2, 167, 3))
        with rasterio.open(folder / "cube.tif", "w", **{**cube.profile, "count": len(chosen)}) as thin:
            thin.write(cube.read(chosen))
            thin.update_tags(**cube.tags())
            for place, band in enumerate(chosen, 1):
                thin.update_tags(place, **cube.tags(band))
                thin.set_band_description(place, cube.descriptions[band - 1])
    return folder


@pytest.fixture(scope="module")
def pairs(tailings: Path) -> PairSet:
    """Everything of the site joined."""
    return build_pairs(study_of(tailings))


@pytest.fixture(scope="module")
def samples(tailings: Path) -> pd.DataFrame:
    return pd.read_csv(tailings / "lab/samples.csv")


@pytest.fixture(scope="module")
def spectra(tailings: Path) -> pd.DataFrame:
    return pd.read_csv(tailings / "lab/spectra.csv")


def written(folder: Path, samples: pd.DataFrame, spectra: pd.DataFrame, site: Path) -> Study:
    """The study with other tables."""
    samples.to_csv(folder / "samples.csv", index=False)
    spectra.to_csv(folder / "spectra.csv", index=False)
    return study_of(site, samples={"path": folder / "samples.csv"}, spectra={"laboratory": folder / "spectra.csv"})


class TestJoin:
    """Tables meet by the samples' names."""

    def test_every_sample_has_its_own_cell_spectrum_and_values(
        self, pairs: PairSet, tailings: Path, samples: pd.DataFrame
    ) -> None:
        assert len(pairs) == 60
        cube = open_scene(tailings / "cube.tif").compute()
        table = zip(samples["sample_id"], samples["property"], samples["value"], strict=True)
        value = {(sample, code): value for sample, code, value in table}
        places = samples.drop_duplicates("sample_id").set_index("sample_id")
        for row in (0, 17, 59):
            name = str(pairs.names[row])
            place = places.loc[name]
            cell = cube.sel(x=place["x"], y=place["y"], method="nearest").sel(band=list(pairs.bands.names))
            assert np.array_equal(pairs.satellite[row], cell.values.astype(np.float64))
            assert pairs.values[row].tolist() == [value[name, code] for code in CODES]
        assert [soil.code for soil in pairs.properties] == list(CODES)
        assert (pairs.depth.top_cm, pairs.depth.bottom_cm) == (0, 20)

    def test_the_order_of_neither_table_matters(
        self, pairs: PairSet, tailings: Path, samples: pd.DataFrame, spectra: pd.DataFrame, tmp_path: Path
    ) -> None:
        mixed = written(
            tmp_path, samples.sample(frac=1, random_state=1), spectra.sample(frac=1, random_state=2), tailings
        )
        assert build_pairs(mixed).digest == pairs.digest

    def test_objects_give_what_files_give(self, pairs: PairSet, tailings: Path) -> None:
        made = make_spectral_samples(LAND, 60)
        study = Study(property="som", fusion={"kind": "ds"}, invert={"properties": CODES})
        held = build_pairs(
            study,
            samples=made.samples,
            scene=open_scene(tailings / "cube.tif"),
            laboratory=open_spectra(made.spectra, quantity="reflectance"),
        )
        assert held.names.tolist() == pairs.names.tolist()
        assert np.array_equal(held.satellite, pairs.satellite)
        # The files hold six decimals of spectra and four of values.
        assert held.laboratory is not None
        assert pairs.laboratory is not None
        assert np.abs(held.laboratory - pairs.laboratory).max() < 2e-6
        assert np.abs(held.values - pairs.values).max() < 1e-4

    def test_samples_without_a_laboratory_spectrum_are_left_out_and_counted(
        self, tailings: Path, samples: pd.DataFrame, spectra: pd.DataFrame, tmp_path: Path
    ) -> None:
        spectra = spectra.copy()
        spectra.iloc[[4], 30] = np.nan
        found = build_pairs(written(tmp_path, samples, spectra.drop(index=[0, 7]), tailings))
        assert found.report["without_laboratory"] == ["S001", "S005", "S008"]
        assert len(found) == 57
        assert not {"S001", "S005", "S008"} & set(found.names.tolist())
        assert found.neighbours is not None
        assert found.neighbours.sample.max() == 56
        told = say_counts(counts_of(found.report))
        assert told[-1] == "profiles left out: 3 without a laboratory spectrum"

    def test_laboratory_spectra_at_or_below_zero_are_counted_and_said(
        self,
        tailings: Path,
        samples: pd.DataFrame,
        spectra: pd.DataFrame,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        spectra = spectra.copy()
        spectra.iloc[[2, 6], 40] = [-0.001, 0.0]
        found = build_pairs(written(tmp_path, samples, spectra, tailings))
        assert found.report["laboratory_not_positive"] == 2
        assert "2 laboratory spectra have values at or below 0" in caplog.text

    def test_repeated_spectra_of_a_sample_are_averaged_and_said(
        self, pairs: PairSet, tailings: Path, samples: pd.DataFrame, spectra: pd.DataFrame, tmp_path: Path
    ) -> None:
        again = spectra.iloc[[3, 9]].copy()
        again.iloc[:, 1:] += 0.02
        found = build_pairs(written(tmp_path, samples, pd.concat([again, spectra]), tailings))
        assert found.report["laboratory_repeats"] == 2
        assert len(found) == 60
        assert found.laboratory is not None
        assert pairs.laboratory is not None
        gap = (found.laboratory - pairs.laboratory).mean(axis=1)
        assert gap[[3, 9]] == pytest.approx([0.01, 0.01], abs=1e-6)
        assert np.abs(np.delete(gap, [3, 9])).max() == 0

    def test_names_that_do_not_meet_are_refused_with_both_sides(
        self, tailings: Path, samples: pd.DataFrame, spectra: pd.DataFrame, tmp_path: Path
    ) -> None:
        other = spectra.assign(sample_id=[f"lab {number}" for number in range(60)])
        with pytest.raises(InputError) as caught:
            build_pairs(written(tmp_path, samples, other, tailings))
        assert caught.value.code == "GS-SPECTRA-NAMES"
        assert "S001" in caught.value.details[0]
        assert "lab 0" in caught.value.details[1]

    def test_a_property_that_some_samples_lack_is_missing_there(
        self, tailings: Path, samples: pd.DataFrame, spectra: pd.DataFrame, tmp_path: Path
    ) -> None:
        lacking = samples["sample_id"].isin(["S001", "S002"]) & (samples["property"] == "som")
        alone = samples["sample_id"].eq("S003") & (samples["property"] != "cu")
        found = build_pairs(written(tmp_path, samples[~(lacking | alone)], spectra, tailings))
        assert len(found) == 60
        missing = np.isnan(found.values)
        assert np.argwhere(missing).tolist() == [[0, 0], [1, 0], [2, 0], [2, 1]]

    def test_a_property_that_too_few_samples_have_is_refused(
        self, tailings: Path, samples: pd.DataFrame, spectra: pd.DataFrame, tmp_path: Path
    ) -> None:
        kept = samples[(samples["property"] != "as") | (samples["sample_id"] < "S013")]
        with pytest.raises(InputError, match="12 samples with as are too few") as caught:
            build_pairs(written(tmp_path, kept, spectra, tailings))
        assert caught.value.code == "GS-SAMPLES-FEW"

    def test_too_few_samples_say_where_they_went(
        self, tailings: Path, samples: pd.DataFrame, spectra: pd.DataFrame, tmp_path: Path
    ) -> None:
        with pytest.raises(InputError) as caught:
            build_pairs(written(tmp_path, samples, spectra.head(12), tailings))
        assert caught.value.code == "GS-SAMPLES-FEW"
        assert "left out: 48 without a laboratory spectrum" in caught.value.details


class TestPlaces:
    """Which cells the samples lie on."""

    def test_samples_that_all_lie_outside_are_what_is_told(
        self, tailings: Path, samples: pd.DataFrame, spectra: pd.DataFrame, tmp_path: Path
    ) -> None:
        far = written(tmp_path, samples.assign(x=samples["x"] + 1e6), spectra, tailings)
        with pytest.raises(InputError) as caught:
            build_pairs(far)
        assert caught.value.code == "GS-SAMPLES-OUTSIDE"
        assert caught.value.message == "all 60 profiles lie outside the scene"
        scene, points, crs = caught.value.details
        assert scene.startswith(f"scene:   x {LAND.left:.8g} to ")
        assert points.startswith(f"samples: x {samples['x'].min() + 1e6:.8g} to {samples['x'].max() + 1e6:.8g}, y ")
        assert LAND.crs in crs
        assert "crs under [samples]" in caught.value.hint

    def test_samples_that_mostly_lie_outside_are_a_reason_to_check_the_crs(
        self, tailings: Path, samples: pd.DataFrame, spectra: pd.DataFrame, tmp_path: Path
    ) -> None:
        moved = samples.assign(x=samples["x"].where(samples["sample_id"] < "S010", samples["x"] + 1e6))
        with pytest.raises(InputError) as caught:
            build_pairs(written(tmp_path, moved, spectra, tailings))
        assert caught.value.code == "GS-SAMPLES-FEW"
        assert "left out: 51 outside the scene" in caught.value.details
        assert caught.value.hint.startswith("add samples; or check the samples' CRS: crs under [samples]")

    def test_samples_outside_the_scene_are_left_out_and_counted(
        self, tailings: Path, samples: pd.DataFrame, spectra: pd.DataFrame, tmp_path: Path
    ) -> None:
        moved = samples.copy()
        moved.loc[moved["sample_id"] == "S010", "x"] = LAND.left - 10
        moved.loc[moved["sample_id"] == "S020", "y"] = LAND.top + 10
        found = build_pairs(written(tmp_path, moved, spectra, tailings))
        assert found.report["outside"] == ["S010", "S020"]
        assert len(found) == 58

    def test_samples_that_are_all_masked_are_counted_as_such(self, tailings: Path) -> None:
        with pytest.raises(InputError) as caught:
            build_pairs(study_of(tailings, masks={"rules": {"ndvi": -0.9}}))
        assert caught.value.code == "GS-SAMPLES-FEW"
        assert "left out: 60 on masked cells" in caught.value.render()
        assert "use = false" in caught.value.hint
        assert "CRS" not in caught.value.hint

    def test_samples_in_another_crs_lie_on_the_same_cells(
        self, pairs: PairSet, tailings: Path, samples: pd.DataFrame, spectra: pd.DataFrame, tmp_path: Path
    ) -> None:
        points = gpd.GeoSeries(gpd.points_from_xy(samples["x"], samples["y"]), crs=LAND.crs).to_crs("EPSG:4326")
        study = written(tmp_path, samples.assign(x=points.x, y=points.y), spectra, tailings)
        study = study.model_copy(update={"samples": study.samples.model_copy(update={"crs": "EPSG:4326"})})
        assert np.array_equal(build_pairs(study).satellite, pairs.satellite)

    def test_masked_samples_and_those_without_data_are_left_out_and_counted(self, tailings: Path) -> None:
        cube = open_scene(tailings / "cube.tif").compute()
        points = pd.read_csv(tailings / "lab/samples.csv").drop_duplicates("sample_id")
        column = ((points["x"] - LAND.left) // LAND.resolution).astype(int).to_numpy()
        row = ((LAND.top - points["y"]) // LAND.resolution).astype(int).to_numpy()
        plan = MaskRules().on(Bands.of(cube))
        before = plan.flags(np.ascontiguousarray(cube.values[list(plan.positions)]))[row, column]
        assert (before == 0).all()
        cube.values[:, row[5], column[5]] = np.nan
        green = np.abs(cube["wavelength"].values - 800) < 12
        cube.values[green, row[6], column[6]] = 0.95
        found = build_pairs(study_of(tailings), scene=cube.chunk())
        assert found.report["no_data"] == ["S006"]
        assert found.report["masked"] == ["S007"]
        assert found.report["masks"][0].startswith("masks: cloud")
        unmasked = build_pairs(study_of(tailings, masks={"use": False}), scene=cube.chunk())
        assert unmasked.report["masked"] == []
        assert "S007" in unmasked.names

    def test_land_use_that_is_left_out_takes_its_samples(self, pairs: PairSet, tailings: Path, tmp_path: Path) -> None:
        profile = {"driver": "GTiff", "count": 1, "dtype": "int16", "height": 32, "width": 32, "crs": LAND.crs}
        codes = np.full((32, 32), 1, np.int16)
        codes[:, 16:] = 7
        affine = rasterio.transform.from_origin(LAND.left, LAND.top, 60, 60)
        with rasterio.open(tmp_path / "use.tif", "w", transform=affine, **profile) as file:
            file.write(codes, 1)
        masks = {"land_use": tmp_path / "use.tif", "leave_out": [7]}
        found = build_pairs(study_of(tailings, masks=masks))
        assert pairs.points is not None
        east = pairs.points.geometry.x.to_numpy() > LAND.left + 32 * 30
        assert found.report["masked"] == pairs.names[east].tolist()
        assert 0 < len(found) < 60
        with pytest.raises(UsageError) as caught:
            build_pairs(study_of(tailings, masks={"leave_out": [7]}))
        assert caught.value.code == "GS-MASK-LANDUSE"

    def test_neighbours_are_cells_beside_the_sample_that_look_like_it(self, pairs: PairSet, tailings: Path) -> None:
        cube = open_scene(tailings / "cube.tif").sel(band=list(pairs.bands.names)).compute()
        assert pairs.neighbours is not None
        assert pairs.points is not None
        assert len(pairs.neighbours) > 60
        x, y = pairs.points.geometry.x.to_numpy(), pairs.points.geometry.y.to_numpy()
        column, row = ((x - LAND.left) // 30).astype(int), ((LAND.top - y) // 30).astype(int)
        taken = set(zip(row.tolist(), column.tolist(), strict=True))
        for spectrum, sample in zip(pairs.neighbours.spectra[::9], pairs.neighbours.sample[::9], strict=True):
            near = [(row[sample] + down, column[sample] + right) for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0))]
            near = [(y, x) for y, x in near if 0 <= y < 64 and 0 <= x < 64]
            (cell,) = (one for one in near if np.array_equal(cube.values[:, one[0], one[1]], spectrum))
            assert cell not in taken
            own = pairs.satellite[sample]
            cosine = own @ spectrum / np.linalg.norm(own) / np.linalg.norm(spectrum)
            assert np.arccos(min(cosine, 1.0)) <= 0.08 + 1e-6
        assert build_pairs(study_of(tailings, fusion={"neighbours": False})).neighbours is None


class TestBands:
    """Laboratory spectra as the sensor would see them, and which bands are used."""

    def test_laboratory_spectra_equal_the_truth_at_the_bands(self, tailings: Path) -> None:
        made = make_spectral_samples(LAND, 60)
        truth = Surface.at(made.wavelength_nm, np.full(len(made.wavelength_nm), 6.0)).soil(made.ground)
        clean = pd.DataFrame({"sample_id": made.spectra["sample_id"]}).join(
            pd.DataFrame(truth, columns=made.spectra.columns[1:])
        )
        found = build_pairs(study_of(tailings), laboratory=open_spectra(clean, quantity="reflectance"))
        centres, widths = np.array(found.bands.wavelength_nm), np.array(found.bands.fwhm_nm)
        # The ground makes the spectra that a sensor of these bands sees.
        seen = Surface.at(centres, widths).soil(made.ground)
        assert found.laboratory is not None
        assert np.abs(found.laboratory - seen).max() < 0.005
        assert np.corrcoef(found.laboratory.ravel(), np.asarray(seen, np.float64).ravel())[0, 1] > 0.9999

    def test_bands_in_water_windows_and_listed_ones_are_out_with_reasons(self, pairs: PairSet, tailings: Path) -> None:
        wavelength = pairs.wavelength_nm
        assert not ((wavelength > 1342) & (wavelength < 1451)).any()
        assert len(wavelength) < 55
        assert any("listed bad in the file" in line for line in pairs.report["bands"])
        dropped = pairs.bands.names[10]
        offered = [str(one) for one in open_scene(tailings / "cube.tif")["band"].values]
        kept = next(one for one in offered if one.startswith("136"))
        found = build_pairs(study_of(tailings, spectra={"drop": [dropped], "keep": [kept]}))
        assert dropped not in found.bands.names
        assert kept in found.bands.names

    def test_spectra_that_do_not_reach_a_band_are_refused(
        self, tailings: Path, samples: pd.DataFrame, spectra: pd.DataFrame, tmp_path: Path
    ) -> None:
        short = spectra[[one for one in spectra.columns if not one.isdigit() or int(one) <= 2000]]
        with pytest.raises(InputError, match="not covered by the spectra") as caught:
            build_pairs(written(tmp_path, samples, short, tailings))
        assert caught.value.code == "GS-RESAMPLE"

    def test_radiance_is_refused(self, tailings: Path) -> None:
        cube = open_scene(tailings / "cube.tif").assign_attrs(quantity="radiance")
        with pytest.raises(InputError) as caught:
            build_pairs(study_of(tailings), scene=cube)
        assert (caught.value.code, caught.value.exit_code) == ("GS-QUANTITY", 3)
        assert "calibrate" in caught.value.hint

    def test_a_scene_without_wavelengths_is_refused(self, tailings: Path) -> None:
        cube = open_scene(tailings / "cube.tif")
        bare = cube.drop_vars([name for name in ("wavelength", "fwhm", "good", "why") if name in cube.coords])
        with pytest.raises(InputError) as caught:
            build_pairs(study_of(tailings), scene=bare)
        assert caught.value.code == "GS-WAVELENGTHS-NONE"


class TestTables:
    """Satellite spectra that stand in a table, without any scene."""

    @pytest.fixture
    def tables(self, pairs: PairSet, samples: pd.DataFrame, tmp_path: Path) -> Path:
        names = [f"{one:.3f}" for one in pairs.wavelength_nm]
        frame = pd.DataFrame(pairs.satellite, columns=names)
        frame.insert(0, "sample_id", pairs.names)
        frame.to_csv(tmp_path / "satellite.csv", index=False)
        wide = samples.pivot_table(index="sample_id", columns="property", values="value").reset_index()
        wide.rename(columns={"som": "som [g/kg]", "as": "as [mg/kg]", "cu": "cu [mg/kg]"}).to_csv(
            tmp_path / "values.csv", index=False
        )
        return tmp_path

    def study(self, tailings: Path, tables: Path, **changes: object) -> Study:
        return study_of(
            tailings,
            samples={"path": tables / "values.csv", "crs": None, "depth": "0-20"},
            scene={"path": None},
            spectra={"satellite": tables / "satellite.csv", "satellite_quantity": "reflectance", **changes},
        )

    def test_samples_need_no_places(self, pairs: PairSet, tailings: Path, tables: Path) -> None:
        found = build_pairs(self.study(tailings, tables))
        assert found.names.tolist() == pairs.names.tolist()
        assert np.abs(found.satellite - pairs.satellite).max() < 1e-6
        assert np.array_equal(found.values, pairs.values)
        assert found.points is None
        assert found.geobox is None
        assert found.neighbours is None

    def test_values_may_stand_beside_the_spectra(self, pairs: PairSet, tailings: Path, tables: Path) -> None:
        both = pd.read_csv(tables / "satellite.csv").merge(pd.read_csv(tables / "values.csv"), on="sample_id")
        both.to_csv(tables / "both.csv", index=False)
        study = self.study(tailings, tables, satellite=tables / "both.csv")
        study = study.model_copy(update={"samples": study.samples.model_copy(update={"path": None})})
        found = build_pairs(study)
        assert found.names.tolist() == pairs.names.tolist()
        assert np.array_equal(found.values, pairs.values)

    def test_the_order_of_the_spectra_does_not_matter(self, tailings: Path, tables: Path) -> None:
        first = build_pairs(self.study(tailings, tables))
        frame = pd.read_csv(tables / "satellite.csv")
        frame.sample(frac=1, random_state=0).to_csv(tables / "satellite.csv", index=False)
        assert build_pairs(self.study(tailings, tables)).digest == first.digest

    def test_repeats_do_not_become_samples(self, tailings: Path, tables: Path) -> None:
        frame = pd.read_csv(tables / "satellite.csv")
        pd.concat([frame, frame.head(5)]).to_csv(tables / "satellite.csv", index=False)
        found = build_pairs(self.study(tailings, tables))
        assert len(found) == 60
        assert found.report["satellite_repeats"] == 5

    def test_values_that_may_be_several_quantities_say_which_setting_tells(self, tailings: Path, tables: Path) -> None:
        with pytest.raises(InputError) as caught:
            build_pairs(self.study(tailings, tables, satellite_quantity=None))
        assert caught.value.code == "GS-SPECTRA-QUANTITY"
        assert 'satellite_quantity = "reflectance"' in caught.value.hint

    def test_spectra_without_samples_and_with_gaps_are_counted(self, tailings: Path, tables: Path) -> None:
        frame = pd.read_csv(tables / "satellite.csv")
        frame.loc[3, "sample_id"] = "nobody"
        frame.iloc[4, 20] = np.nan
        frame.to_csv(tables / "satellite.csv", index=False)
        found = build_pairs(self.study(tailings, tables))
        assert (found.report["without_samples"], found.report["no_data"], len(found)) == (1, ["S005"], 58)
        lost = found.report["without_spectrum"]
        assert len(lost) + len(found.report["no_data"]) + len(found) == 60, "every sample is used or counted"


def test_a_study_without_any_satellite_spectra_says_what_to_add(tailings: Path) -> None:
    with pytest.raises(UsageError) as caught:
        build_pairs(study_of(tailings, scene={"path": None}))
    assert caught.value.code == "GS-STUDY"
    assert "[spectra]" in caught.value.hint
    assert "[scene]" in caught.value.hint


def test_masks_of_a_study_are_the_rules_as_it_changes_them() -> None:
    rules = mask_rules(Study(masks={"rules": {"ndvi": 0.2, "cirrus": False}, "off": ["shadow"], "leave_out": [3]}))
    assert rules == MaskRules(ndvi=0.2, cirrus=None, shadow=None, land_use=(3,))
    # High cloud shows at the top of the atmosphere alone, unless somebody asks for it.
    top = "top of the atmosphere"
    assert mask_rules(Study(), top) == MaskRules()
    assert mask_rules(Study()) == MaskRules(cirrus=None)
    assert mask_rules(Study(masks={"rules": {"cirrus": 0.03}})) == MaskRules(cirrus=0.03)
    assert mask_rules(Study(masks={"use": False})) is None


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ({"rules": {"ndvii": 0.2}}, "'ndvii' is not known; did you mean 'ndvi'?"),
        ({"rules": {"ndvi": 25}}, "masks.rules.ndvi"),
        ({"rules": {"ndvi": True}}, "or false to switch it off"),
        ({"off": ["clouds"]}, "did you mean 'cloud'?"),
    ],
)
def test_wrong_masks_are_told_when_the_study_is_read(masks: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Study(masks=masks)
    assert caught.value.code == "GS-STUDY"
    assert words in "\n".join(caught.value.details)
