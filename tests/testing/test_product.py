"""Made products hold what the truth says, in files as they are delivered."""

from __future__ import annotations

import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from defusedxml.ElementTree import parse
from rasterio.errors import NotGeoreferencedWarning
from rasterio.warp import Resampling, reproject

from geosoil.errors import UsageError
from geosoil.testing import Landscape, Levels, Product, make_product
from geosoil.testing.acquisition import noise_floor
from geosoil.testing.atmosphere import Atmosphere, earth_sun_distance
from geosoil.testing.product import FAULTS

pytestmark = pytest.mark.filterwarnings(f"ignore::{NotGeoreferencedWarning.__module__}.NotGeoreferencedWarning")

SHAPE = (44, 52)
SEPARATORS = {"GF5": "\t", "GF5A": ",", "GF5B": ",", "ZY1E": " ", "ZY1F": " "}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Product:
    return make_product(tmp_path_factory.mktemp("gf5b"), "GF5B", SHAPE)


def image(product: Product, label: str) -> Path:
    (path,) = (path for path in product.path.glob(f"*_{label}.*") if "tif" in path.suffix)
    return path


def counts(product: Product, label: str) -> np.ndarray:
    with rasterio.open(image(product, label)) as dataset:
        return np.asarray(dataset.read())


def table(product: Product, kind: str, word: str) -> np.ndarray:
    path = product.path / product.family.calibration_name(kind, word)
    return np.array(
        [[float(cell) for cell in line.replace(",", " ").split()] for line in path.read_text().splitlines()]
    )


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("GF5", ("VN.geotiff", "SW.geotiff", "GF5_AHSI_VNIR_RadCal.raw", "GF5_AHSI_SWIR_Spectralresponse.raw")),
        ("GF5A", ("VN.tif", "SW.tif", "GF5A_AHSI_RadCal_VNIR.raw", "GF5A_AHSI_Spectralresponse_SWIR.raw")),
        ("GF5B", ("VN.tif", "SW.tif", "GF5B_AHSI_RadCal_VNIR.raw", "GF5B_AHSI_Spectralresponse_SWIR.raw")),
        ("ZY1E", ("VN.tif", "SW.tif", "ZY1E_AHSI_VNIR_RadCal.raw", "ZY1E_AHSI_SWIR_Spectralresponse.raw")),
        ("ZY1F", ("VN.tiff", "SW.tiff", "ZY1F_AHSI_VNIR_RadCal.raw", "ZY1F_AHSI_SWIR_Spectralresponse.raw")),
    ],
)
def test_every_family_has_its_names_separators_and_bands(family: str, names: tuple[str, ...], tmp_path: Path) -> None:
    made = make_product(tmp_path, family, (16, 20))
    found = {path.name for path in made.path.iterdir()}
    expected = {name if name.endswith(".raw") else f"{made.stem}_{name}" for name in names}
    assert expected | {f"{made.stem}{end}" for end in (".xml", ".jpg", "_VN.rpb", "_SW.rpb")} <= found
    assert len(found) == 10
    for kind in ("RadCal", "Spectralresponse"):
        for word, bands in zip(("VNIR", "SWIR"), (76, 90) if family.startswith("ZY") else (150, 180), strict=True):
            lines = (made.path / made.family.calibration_name(kind, word)).read_text().splitlines()
            assert len(lines) == bands
            assert all(len(line.split(SEPARATORS[family])) == 2 for line in lines)
    with rasterio.open(image(made, "VN")) as first, rasterio.open(image(made, "SW")) as second:
        assert first.shape == second.shape == (16, 20)
        assert first.count + second.count == len(made.wavelength_nm)


def test_the_name_tells_satellite_place_and_day(tmp_path: Path) -> None:
    south = Landscape(shape=(16, 16), crs="EPSG:32720", left=500_000, top=6_300_000)
    made = make_product(tmp_path, "GF5", (16, 16), landscape=south, acquired="2019-12-28")
    assert made.stem.startswith("GF5_AHSI_W63.00_S33.44_20191228_")


def test_images_lie_in_sensor_geometry(product: Product) -> None:
    for label, bands in (("VN", 150), ("SW", 180)):
        with rasterio.open(image(product, label)) as dataset:
            assert dataset.crs is None
            assert dataset.transform.is_identity
            assert (dataset.count, *dataset.shape) == (bands, *SHAPE)
            assert dataset.rpcs is not None


def test_calibration_files_hold_the_truth(product: Product) -> None:
    for detector in product.detectors:
        centres, widths = table(product, "Spectralresponse", detector.word).T
        gain, offset = table(product, "RadCal", detector.word).T
        np.testing.assert_array_equal(centres, detector.wavelength_nm)
        np.testing.assert_array_equal(widths, detector.fwhm_nm)
        np.testing.assert_allclose(gain, detector.gain, atol=1e-8)
        np.testing.assert_allclose(offset, detector.offset, atol=1e-8)
    assert product.detectors[1].wavelength_nm[[0, -1]] == pytest.approx([1009.0, 2515.577], abs=0.01)


@pytest.mark.parametrize("family", ["GF5", "GF5B", "ZY1E"])
def test_without_disturbance_the_counts_are_the_radiance(family: str, tmp_path: Path) -> None:
    made = make_product(tmp_path, family, (20, 24), levels=Levels.none())
    ground = made.acquisition.ground()
    for number, detector in enumerate(made.detectors):
        gain, offset = table(made, "RadCal", detector.word).T
        read = counts(made, detector.label) * gain[:, None, None] + offset[:, None, None]
        truth = made.acquisition.clean_radiance(ground, number).T.reshape(read.shape)
        # Half a count, but one where less than a count would mean no data.
        limit = np.where(truth > (gain + offset)[:, None, None], 0.501, 1.01) * gain[:, None, None]
        assert (np.abs(read - truth) <= limit + 1e-4 * np.abs(truth)).all()


def test_the_instrument_adds_noise_stripes_and_a_step(tmp_path: Path) -> None:
    flat = Landscape(shape=(120, 40), clouds=False, lake=False)
    made = make_product(tmp_path, "GF5B", (120, 40), landscape=flat)
    ground = made.acquisition.ground()
    ratios, noises = [], []
    for number, detector in enumerate(made.detectors):
        read = counts(made, detector.label) * detector.gain[:, None, None] + detector.offset[:, None, None]
        truth = made.acquisition.clean_radiance(ground, number).T.reshape(read.shape)
        ratios.append((read / truth)[:, :, :])
        noises.append(noise_floor(detector) / truth.mean(axis=(1, 2)))
    near = (
        np.abs(made.detectors[0].wavelength_nm - 800).argmin(),
        np.abs(made.detectors[1].wavelength_nm - 1250).argmin(),
    )
    assert np.median(ratios[0][near[0]]) == pytest.approx(1.04, abs=0.015)
    assert np.median(ratios[1][near[1]]) == pytest.approx(1.0, abs=0.015)
    column = ratios[1][near[1]].mean(axis=0)
    within = ratios[1][near[1]].std(axis=0)
    # Stripes: columns differ by far more than noise lets the mean of 120 lines differ.
    assert column.std() > 4 * within.mean() / np.sqrt(120)
    assert within.mean() == pytest.approx(1 / 50 + noises[1][near[1]], rel=0.3)


def test_any_cut_into_strips_gives_the_same_counts(product: Product) -> None:
    seen = product.acquisition
    whole = counts(product, "SW")
    pieces = []
    for lines in ((0, 7), (7, 30), (30, 44)):
        pieces.append(seen.counts(seen.ground(lines), 1, lines, "uint16"))
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)


def test_equal_seeds_give_equal_files(tmp_path: Path) -> None:
    first, again, other = (
        counts(make_product(tmp_path / name, "ZY1F", (16, 18), seed=seed), "VN")
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.5, -1.25)])
def test_rpc_and_heights_put_pixels_back_on_the_map(tmp_path: Path, shift: tuple[float, float]) -> None:
    made = make_product(tmp_path, "GF5B", (70, 80), shift=shift)
    dem = made.landscape.write_dem(tmp_path / "dem.tif")
    box = made.landscape.geobox
    ground = made.acquisition.ground(detector=1)
    with rasterio.open(image(made, "SW")) as dataset:
        rpcs = dataset.rpcs
    back = [np.full(box.shape, np.nan) for _ in range(2)]
    for values, out in zip((ground.x, ground.y), back, strict=True):
        reproject(
            values, out, rpcs=rpcs, src_crs="EPSG:4326", dst_transform=box.affine, dst_crs=str(box.crs),
            src_nodata=np.nan, dst_nodata=np.nan, resampling=Resampling.bilinear, RPC_DEM=str(dem),
        )  # fmt: skip
    inner = slice(15, -15)
    for out, expected in zip(back, made.landscape.centres((0, 70), (0, 80)), strict=True):
        # A tenth of a metre where half a pixel, 15 m, would do.
        np.testing.assert_allclose(out[inner, inner], expected[inner, inner], atol=0.1)


def test_without_heights_the_relief_shifts_pixels(product: Product) -> None:
    ground = product.acquisition.ground()
    model = product.acquisition.models[0]
    _, sample = model.image(ground.x, ground.y, np.full(SHAPE, model.height))
    shift = np.abs(sample - np.arange(SHAPE[1])) * 30.0
    assert shift.max() > 1.0
    np.testing.assert_allclose(
        shift, np.abs(ground.elevation - model.height) * np.tan(np.radians(5.0)), rtol=0.05, atol=0.1
    )


def test_the_xml_names_sun_size_time_and_corners(product: Product) -> None:
    root = parse(product.path / f"{product.stem}.xml").getroot()
    assert root is not None
    assert root.tag == "ProductMetaData"
    facts = {element.tag: element.text or "" for element in root}
    assert float(facts["SolarZenith"]) == product.landscape.sun_zenith
    assert (int(facts["LinesInPixels"]), int(facts["SamplesInPixels"])) == SHAPE
    assert facts["StartTime"].startswith("2022-10-08 11:")
    assert float(facts["TopLeftLatitude"]) > float(facts["BottomLeftLatitude"])
    assert float(facts["TopLeftLongitude"]) < float(facts["TopRightLongitude"])
    line, sample = product.rational[0].image(
        np.array(float(facts["TopRightLongitude"])),
        np.array(float(facts["TopRightLatitude"])),
        product.acquisition.ground((0, 1)).elevation[0, -1],
    )
    assert (line, sample) == pytest.approx((0, SHAPE[1] - 1), abs=0.05)


@pytest.mark.parametrize("archive", [".tar.gz", ".tar"])
@pytest.mark.parametrize("nested", [True, False])
def test_archives_are_nested_or_flat(archive: str, nested: bool, tmp_path: Path) -> None:
    made = make_product(tmp_path, "GF5", (16, 16), archive=archive, nested=nested)
    assert made.path == tmp_path / f"{made.stem}{archive}"
    assert list(tmp_path.iterdir()) == [made.path]
    assert (made.path.read_bytes()[:2] == b"\x1f\x8b") == (archive == ".tar.gz")
    with tarfile.open(made.path) as tar:
        names = [member.name for member in tar.getmembers() if member.isfile()]
        tar.extractall(tmp_path / "out", filter="data")
    assert len(names) == 10
    assert all(name.startswith(f"{made.stem}/") == nested for name in names)
    folder = tmp_path / "out" / made.stem if nested else tmp_path / "out"
    with rasterio.open(folder / f"{made.stem}_SW.geotiff") as dataset:
        assert dataset.count == 180


def test_lost_lines_and_dead_bands_are_zero_and_nothing_else_is(tmp_path: Path) -> None:
    made = make_product(tmp_path, "GF5B", (20, 16), lost_lines=[4, 19], dead_bands=[3, 200])
    vn, sw = counts(made, "VN"), counts(made, "SW")
    for values, dead in ((vn, 2), (sw, 200 - 151)):
        zero = values == 0
        assert zero[:, [4, 19]].all()
        assert zero[dead].all()
        zero[:, [4, 19]] = False
        zero[dead] = False
        assert not zero.any()


def test_faults_are_as_asked(tmp_path: Path) -> None:
    def made(fault: str) -> Product:
        return make_product(tmp_path / fault, "GF5B", (16, 16), faults=[fault])

    assert len(counts(made("swapped"), "VN")) == 180
    assert counts(made("unequal"), "SW").shape[1] == 15
    assert len(table(made("short-gain"), "RadCal", "SWIR")) == 179
    assert len(table(made("short-response"), "Spectralresponse", "SWIR")) == 179
    assert table(made("one-column"), "RadCal", "VNIR").shape == (150, 1)
    missing = {
        "no-calibration": "*RadCal*", "no-response": "*Spectralresponse*", "no-rpc": "*.rpb", "no-xml": "*.xml",
        "no-sw": "*_SW.tif",
    }  # fmt: skip
    for fault, pattern in missing.items():
        assert not list(made(fault).path.glob(pattern))
    assert set(FAULTS) == {*missing, "swapped", "unequal", "short-gain", "short-response", "one-column"}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"family": "GF6"}, "GS-TESTING-FAMILY"),
        ({"archive": ".zip"}, "GS-TESTING-ARCHIVE"),
        ({"faults": ["burnt"]}, "GS-TESTING-FAULT"),
    ],
)
def test_unknown_words_are_refused(tmp_path: Path, options: dict[str, object], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_product(tmp_path, **options)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert not list(tmp_path.iterdir())


def test_the_air_has_the_absorption_bands_of_water_and_a_blue_path() -> None:
    wavelength = np.array([450.0, 860.0, 1250.0, 1380.0, 1650.0, 1900.0, 2200.0])
    air = Atmosphere.at(wavelength, np.full(7, 8.5), sun_zenith=38.0, distance=earth_sun_distance(281))
    assert (air.transmission[[3, 5]] < 0.02).all()
    assert (air.transmission[[1, 2, 4, 6]] > 0.75).all()
    assert (np.diff(air.path[[0, 1, 2, 4, 6]]) < 0).all()
    # Sun at 550 nm on top of the air: 1.86 kW m-2 um-1 in the tables; spread over the half space.
    sun = Atmosphere.at(np.array([550.0]), np.array([8.5]), sun_zenith=0.0, distance=1.0).sun[0]
    assert sun == pytest.approx(1863 / np.pi, rel=0.02)


def test_radiance_is_as_large_as_satellites_find_it(product: Product) -> None:
    ground = product.acquisition.ground()
    sensor = product.detectors[1]
    soil = product.acquisition.clean_radiance(ground, 1)[ground.bare.ravel()]
    # Calibrated patches of a real scene near 2300 nm lie between 0.5 and 5 W m-2 sr-1 um-1; these soils are bright.
    near = np.abs(sensor.wavelength_nm - 2300).argmin()
    assert 0.5 < np.percentile(soil[:, near], 5) < 5.0
    assert np.percentile(soil[:, near], 95) < 10.0


def test_a_product_of_256_cells_takes_seconds(tmp_path: Path) -> None:
    start = time.process_time()
    make_product(tmp_path, "GF5B", (256, 256))
    assert time.process_time() - start < 25
