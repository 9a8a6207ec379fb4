"""AHSI products of all families open as delivered and give the radiance that their files state, or say why not."""

from __future__ import annotations

import io
import json
import pickle  # noqa: TID251  (as readers travel between processes)
import tarfile
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio

from geosoil.errors import GeosoilError, InputError, UsageError
from geosoil.io.archive import unpack
from geosoil.io.gaofen import EXPECTED, Gaofen, describe, open_product
from geosoil.io.gaofen.metadata import read_metadata
from geosoil.io.lazy import lazy_array
from geosoil.registry import reader_for
from geosoil.types import Reader, WindowReader

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float64

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

LINES, SAMPLES = 7, 5
STEM = "AHSI_E113.2_N36.31_20221208_006658_L10000252104"
RANGES = {"VN": (390.3, 1028.0), "SW": (1005.0, 2513.0)}
WORDS = {"VN": "VNIR", "SW": "SWIR"}

RPB = """\
satId = "GF5B";
bandId = "P";
SpecId = "RPC00B";
BEGIN_GROUP = IMAGE
    errBias = 0.0;
    errRand = 0.0;
    lineOffset = 3.0;
    sampOffset = 2.0;
    latOffset = 36.31;
    longOffset = 113.2;
    heightOffset = 800;
    lineScale = 3.0;
    sampScale = 2.0;
    latScale = 0.3;
    longScale = 0.35;
    heightScale = 500;
{coefficients}
END_GROUP = IMAGE
END;
"""

XML = """\
<?xml version="1.0" encoding="utf-8"?>
<ProductMetaData xmlns="http://example.org/ahsi">
  <SatelliteID>GF5B</SatelliteID><SensorID>AHSI</SensorID>
  <Time><StartTime>2022-12-08 13:05:09.25</StartTime></Time>
  <Angles><SolarZenith> 60.25 </SolarZenith><SolarAzimuth>178.5</SolarAzimuth>
    <SatelliteZenith>0.5</SatelliteZenith></Angles>
  <LinesInPixels>7</LinesInPixels><SamplesInPixels>5</SamplesInPixels>
  <CenterLatitude>36.31</CenterLatitude><CenterLongitude>113.2</CenterLongitude>
  <TopLeftLatitude>36.6</TopLeftLatitude><TopLeftLongitude>112.9</TopLeftLongitude>
  <TopRightLatitude>36.5</TopRightLatitude><TopRightLongitude>113.5</TopRightLongitude>
  <BottomRightLatitude>36.0</BottomRightLatitude><BottomRightLongitude>113.4</BottomRightLongitude>
  <BottomLeftLatitude>36.1</BottomLeftLatitude><BottomLeftLongitude>112.8</BottomLeftLongitude>
</ProductMetaData>
"""


@dataclass(frozen=True)
class Made:
    """A product on disk with the numbers that went into it; edit the fields, then `write`."""

    family: str = "GF5B"
    suffix: str = ".tif"
    separator: str = ","
    side: str = "{family}_AHSI_{what}_{part}.raw"
    rpb: bool = True
    xml: str | None = XML
    dtype: str = "uint16"
    counts: dict[str, int] = field(default_factory=lambda: {"VN": 150, "SW": 180})
    driver: dict[str, Any] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        return f"{self.family}_{STEM}"

    def dn(self, label: str) -> NDArray[Any]:
        """Counts: the first line is 0 in all bands, one band is 0 throughout, one pixel is 0 but for its last band."""
        rng = np.random.default_rng(len(label + self.family) + self.counts[label])
        values = rng.integers(1, 30_000, (self.counts[label], LINES, SAMPLES)).astype(self.dtype)
        values[:, 0] = 0
        values[3] = 0
        values[:-1, 4, 2] = 0
        return values

    def gains(self, label: str) -> Float64:
        rising = np.linspace(0.8, 0.05, self.counts[label])
        return np.round(rising, 6)

    def offsets(self, label: str) -> Float64:
        return np.round(np.linspace(-0.5, 0.25, self.counts[label]), 4)

    def centres(self, label: str) -> Float64:
        return np.round(np.linspace(*RANGES[label], self.counts[label]), 3)

    def radiance(self, label: str) -> NDArray[np.float64]:
        stored = self.dn(label)
        gains, offsets = self.gains(label)[:, None, None], self.offsets(label)[:, None, None]
        return np.where((stored == 0).all(axis=0), np.nan, gains * stored + offsets)

    def truth(self) -> NDArray[np.float64]:
        return np.concatenate([self.radiance("VN"), self.radiance("SW")])

    def side_path(self, folder: Path, label: str, what: str) -> Path:
        return folder / self.side.format(family=self.family, what=what, part=WORDS[label])

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for label in ("VN", "SW"):
            write_image(folder / f"{self.stem}_{label}{self.suffix}", self.dn(label), **self.driver)
            table = {"RadCal": (self.gains(label), self.offsets(label)),
                     "Spectralresponse": (self.centres(label), np.full(self.counts[label], 8.546))}  # fmt: skip
            for what, columns in table.items():
                rows = [self.separator.join(f"{one:.10g}" for one in row) for row in zip(*columns, strict=True)]
                self.side_path(folder, label, what).write_text("\n".join(rows) + "\n\n")
            if self.rpb:
                (folder / f"{self.stem}_{label}.rpb").write_text(rpb_text(3.0 if label == "VN" else 3.5))
        if self.xml is not None:
            (folder / f"{self.stem}.xml").write_text(self.xml, encoding="utf-8")
        return folder


def write_image(path: Path, values: NDArray[Any], **driver: Any) -> Path:
    size = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    with rasterio.open(path, "w", **{"driver": "GTiff", **size, **driver}) as file:
        file.write(values)
    return path


def rpb_text(line: float) -> str:
    """Line falls with latitude, sample rises with longitude."""
    lists = {"lineNumCoef": {2: -1.0}, "lineDenCoef": {0: 1.0}, "sampNumCoef": {1: 1.0}, "sampDenCoef": {0: 1.0}}
    blocks = []
    for name, known in lists.items():
        numbers = ",\n        ".join(f"{known.get(place, 0.0):.6E}" for place in range(20))
        blocks.append(f"    {name} = (\n        {numbers});")
    return RPB.replace("{coefficients}", "\n".join(blocks)).replace("lineOffset = 3.0", f"lineOffset = {line}")


GF5B = Made()
GF5 = Made("GF5", ".geotiff", "\t", "{family}_AHSI_{part}_{what}.raw", rpb=False)
GF5A = Made("GF5A")
ZY1E = Made("ZY1E", ".tif", "  ", "{family}_AHSI_{part}_{what}.raw", counts={"VN": 76, "SW": 90})
ZY1F = Made("ZY1F", ".tiff", "   ", "{family}_AHSI_{part}_{what}.raw", counts={"VN": 76, "SW": 90}, dtype="int16")
ALL = [GF5, GF5A, GF5B, ZY1E, ZY1F]
NAMES = ["GF-5 AHSI", "GF-5A AHSI", "GF-5B AHSI", "ZY-1 02D AHSI", "ZY-1 02E AHSI"]

Refusal = Callable[..., GeosoilError]


@pytest.fixture
def refusal() -> Refusal:
    def refused(path: Path, kind: type[GeosoilError] = InputError, **how: Any) -> GeosoilError:
        with pytest.raises(kind) as caught:
            open_product(path, **how)
        assert len(caught.value.message) < 100
        assert caught.value.hint
        return caught.value

    return refused


def pack(folder: Path, archive: Path, inner: str = "") -> Path:
    with tarfile.open(archive, "w:gz" if archive.name.endswith("gz") else "w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, f"{inner}{path.name}")
    return archive


class TestFamilies:
    @pytest.mark.parametrize(("made", "name"), list(zip(ALL, NAMES, strict=True)), ids=[made.family for made in ALL])
    def test_the_radiance_is_gain_times_count_plus_offset(self, tmp_path: Path, made: Made, name: str) -> None:
        product = open_product(made.write(tmp_path))
        assert (product.family, product.sensor) == (made.family, name)
        assert product.shape == (sum(made.counts.values()), LINES, SAMPLES)
        found = product.reader.read(np.arange(product.shape[0]), (0, LINES), (0, SAMPLES))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, made.truth(), rtol=3e-7, atol=1e-6)
        assert np.isnan(found[:, 0]).all()
        assert np.isfinite(found[:, 1:]).all()

    @pytest.mark.parametrize("made", ALL, ids=[made.family for made in ALL])
    def test_wavelengths_come_vn_then_sw_as_in_the_files(self, tmp_path: Path, made: Made) -> None:
        bands = open_product(made.write(tmp_path)).bands
        vn = made.counts["VN"]
        assert bands.names[:2] == ("VN001", "VN002")
        assert bands.names[vn - 1 : vn + 1] == (f"VN{vn:03d}", "SW001")
        np.testing.assert_array_equal(bands.wavelength_nm, [*made.centres("VN"), *made.centres("SW")])
        assert bands.wavelength_nm[vn] < bands.wavelength_nm[vn - 1]  # the detectors overlap and are not sorted
        assert set(bands.fwhm_nm) == {8.546}

    def test_a_product_with_text_quirks_is_read_the_same(self, tmp_path: Path) -> None:
        GF5B.write(tmp_path)
        for label in WORDS:
            path = GF5B.side_path(tmp_path, label, "RadCal")
            text = path.read_text().replace(",", ", ")
            path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", " \r\n\r\n").encode())
        detectors = open_product(tmp_path).detectors
        for one in detectors:
            np.testing.assert_array_equal(one.calibration.gains, GF5B.gains(one.label))
            np.testing.assert_array_equal(one.calibration.offsets, GF5B.offsets(one.label))

    def test_gains_without_offsets(self, tmp_path: Path) -> None:
        GF5B.write(tmp_path)
        GF5B.side_path(tmp_path, "SW", "RadCal").write_text("\n".join(f"{gain}" for gain in GF5B.gains("SW")))
        sw = open_product(tmp_path).detectors[1]
        assert set(sw.calibration.offsets) == {0.0}
        np.testing.assert_array_equal(sw.calibration.gains, GF5B.gains("SW"))

    def test_names_in_any_case_are_known(self, tmp_path: Path) -> None:
        GF5B.write(tmp_path)
        for path in list(tmp_path.iterdir()):
            path.rename(tmp_path / path.name.lower())
        product = open_product(tmp_path)
        assert product.family == "GF5B"
        assert product.metadata.sun_zenith_deg == 60.25
        assert all(one.rpcs is not None for one in product.detectors)

    def test_facts_of_the_name(self, tmp_path: Path) -> None:
        folder = GF5B.write(tmp_path / "a")
        west = "GF5B_AHSI_W070.25_S33.5_20230101_000123_L10000000042"
        for path in list(folder.iterdir()):
            path.rename(folder / path.name.replace(GF5B.stem, west))
        stem = open_product(folder).stem
        assert (stem.lon, stem.lat, stem.day, stem.orbit, stem.number) == (
            -70.25, -33.5, "2023-01-01", "000123", "0000000042",
        )  # fmt: skip
        assert stem.text == west


class TestWhereFilesLie:
    def test_folder_image_and_folder_above_open_the_same(self, tmp_path: Path) -> None:
        folder = GF5B.write(tmp_path / GF5B.stem)
        first = open_product(folder)
        for path in (folder / f"{GF5B.stem}_VN.tif", folder / f"{GF5B.stem}_SW.tif", tmp_path, str(folder)):
            assert open_product(path) == first

    def test_calibration_files_one_folder_up(self, tmp_path: Path) -> None:
        folder = GF5.write(tmp_path / GF5.stem)
        first = open_product(folder)
        for path in [*folder.glob("*.raw"), *folder.glob("*.xml")]:
            path.rename(tmp_path / path.name)
        product = open_product(folder)
        assert product.bands == first.bands
        assert product.metadata == first.metadata

    def test_calibration_files_of_another_satellite_are_not_taken(self, tmp_path: Path, refusal: Refusal) -> None:
        folder = GF5.write(tmp_path / "a")
        for path in folder.glob("*.raw"):
            path.rename(folder / path.name.replace("GF5_", "GF5B_"))
        assert refusal(folder).code == "GS-CALIBRATION-MISSING"

    def test_two_products_in_a_folder(self, tmp_path: Path, refusal: Refusal) -> None:
        GF5B.write(tmp_path)
        for path in list(tmp_path.glob(f"{GF5B.stem}*")):
            (tmp_path / path.name.replace("L1", "L19")).write_bytes(path.read_bytes())
        error = refusal(tmp_path)
        assert error.code == "GS-PRODUCT-SEVERAL"
        assert open_product(tmp_path / f"{GF5B.stem}_SW.tif").stem.text == GF5B.stem

    def test_results_beside_the_product_are_left_alone(self, tmp_path: Path) -> None:
        GF5B.write(tmp_path)
        for name in (f"{GF5B.stem}_SW_toa.tif", f"{GF5B.stem}.tif"):
            write_image(tmp_path / name, np.ones((3, 4, 4), np.float32))
        assert open_product(tmp_path).shape == (330, LINES, SAMPLES)

    def test_images_without_labels_are_told_apart_by_their_bands(self, tmp_path: Path) -> None:
        GF5.write(tmp_path / "a")
        folder = tmp_path / "a"
        (folder / f"{GF5.stem}_VN.geotiff").rename(folder / f"{GF5.stem}.tif")
        (folder / f"{GF5.stem}_SW.geotiff").rename(folder / f"{GF5.stem}.geotiff")
        product = open_product(folder)
        assert [one.path.suffix for one in product.detectors] == [".tif", ".geotiff"]

    @pytest.mark.parametrize("name", ["nothing", "file.tif", "empty"])
    def test_what_is_no_product(self, tmp_path: Path, refusal: Refusal, name: str) -> None:
        (tmp_path / "empty").mkdir()
        write_image(tmp_path / "file.tif", np.ones((3, 4, 4), np.uint8))
        assert refusal(tmp_path / name).code == "GS-PRODUCT-MISSING"

    @pytest.mark.parametrize("suffix", [".tar.gz", ".tar"])
    @pytest.mark.parametrize("inner", ["", f"{GF5B.stem}/"])
    def test_an_archive_unpacks_to_the_same_product(self, tmp_path: Path, suffix: str, inner: str) -> None:
        first = open_product(GF5B.write(tmp_path / "made"))
        archive = pack(tmp_path / "made", tmp_path / f"{GF5B.stem}{suffix}", inner)
        unpack(archive, tmp_path / "out", expected=EXPECTED)
        product = open_product(tmp_path / "out")
        assert (product.bands, product.metadata, product.stem) == (first.bands, first.metadata, first.stem)
        assert all(one.rpcs is not None for one in product.detectors)


class TestBands:
    def reasons(self, made: Made, folder: Path, **how: Any) -> dict[str, tuple[float, str]]:
        bands = open_product(made.write(folder), **how).bands
        assert [not why for why in bands.why] == list(bands.good)
        return {
            name: (nm, why) for name, nm, why in zip(bands.names, bands.wavelength_nm, bands.why, strict=True) if why
        }

    @pytest.mark.parametrize(("made", "join"), [(GF5, 1005.0), (GF5B, 1009.0), (ZY1E, 1009.7)])
    def test_the_detectors_meet_at_the_join(self, tmp_path: Path, made: Made, join: float) -> None:
        reasons = self.reasons(made, tmp_path)
        overlap = {name for name, (_, why) in reasons.items() if why.startswith("detectors overlap")}
        vn = {f"VN{place:03d}" for place, nm in enumerate(made.centres("VN"), 1) if nm >= join}
        sw = {f"SW{place:03d}" for place, nm in enumerate(made.centres("SW"), 1) if nm < join}
        assert overlap == vn | sw
        assert vn

    def test_another_join(self, tmp_path: Path) -> None:
        reasons = self.reasons(GF5B, tmp_path, join_nm=1020.0)
        assert {name for name, (_, why) in reasons.items() if "join at 1020 nm" in why} == {
            *(f"VN{place:03d}" for place, nm in enumerate(GF5B.centres("VN"), 1) if nm >= 1020),
            *(f"SW{place:03d}" for place, nm in enumerate(GF5B.centres("SW"), 1) if nm < 1020),
        }

    def test_listed_windows(self, tmp_path: Path) -> None:
        reasons = self.reasons(GF5B, tmp_path)
        listed = [nm for nm, why in reasons.values() if why.startswith("listed for GF-5B AHSI")]
        every = np.array([*GF5B.centres("VN"), *GF5B.centres("SW")])
        inside = (every < 400) | (every > 2430)
        for low, high in ((1340, 1460), (1790, 1970)):
            inside |= (every > low) & (every < high)
        assert sorted(listed) == sorted(every[inside])
        assert len(listed) > 40

    def test_a_gain_of_zero_is_no_band(self, tmp_path: Path) -> None:
        GF5B.write(tmp_path)
        path = GF5B.side_path(tmp_path, "SW", "RadCal")
        lines = path.read_text().splitlines()
        lines[70] = "0,0"
        path.write_text("\n".join(lines))
        bands = open_product(tmp_path).bands
        assert bands.why[150 + 70] == "its gain is not above 0"

    def test_collapsed_gains_are_reported_and_kept(self, tmp_path: Path) -> None:
        GF5B.write(tmp_path)
        before = open_product(tmp_path).bands.good
        path = GF5B.side_path(tmp_path, "SW", "RadCal")
        lines = path.read_text().splitlines()
        for place in (99, 100, 101, 120):
            lines[place] = "0.0001,0"
        path.write_text("\n".join(lines))
        product = open_product(tmp_path)
        (note,) = [note for note in product.notes if "fifth" in note]
        centres = GF5B.centres("SW")
        assert f"SW100-SW102 ({centres[99]:.0f}-{centres[101]:.0f} nm), SW121 ({centres[120]:.0f} nm)" in note
        assert product.bands.good == before

    def test_nominal_wavelengths_only_when_asked_for(self, tmp_path: Path, refusal: Refusal) -> None:
        GF5B.write(tmp_path)
        for label in WORDS:
            GF5B.side_path(tmp_path, label, "Spectralresponse").unlink()
        error = refusal(tmp_path)
        assert error.code == "GS-CALIBRATION-MISSING"
        assert "nominal_wavelengths=True" in error.hint
        product = open_product(tmp_path, nominal_wavelengths=True)
        assert [note[:23] for note in product.notes if "nominal" in note] == [
            f"{one}: nominal wavelengths" for one in WORDS
        ]
        # As a response file of GF-5B has it.
        assert product.bands.wavelength_nm[150] == 1009.0
        assert product.bands.wavelength_nm[-1] == pytest.approx(2515.577)
        assert np.diff(product.bands.wavelength_nm[150:]) == pytest.approx(8.4167, abs=1e-3)

    def test_micrometres_are_understood_and_said(self, tmp_path: Path) -> None:
        GF5B.write(tmp_path)
        path = GF5B.side_path(tmp_path, "SW", "Spectralresponse")
        path.write_text("\n".join(f"{nm / 1000:.6f},0.008546" for nm in GF5B.centres("SW")))
        product = open_product(tmp_path)
        np.testing.assert_allclose(product.bands.wavelength_nm[150:], GF5B.centres("SW"))
        assert product.bands.fwhm_nm[-1] == pytest.approx(8.546)
        assert any("micrometres" in note for note in product.notes)

    @pytest.mark.parametrize(
        ("spoil", "problem", "row"),
        [
            (lambda rows: rows[::-1], "has wavelengths that do not rise", 2),
            (lambda rows: [*rows[:10], rows[11], rows[10], *rows[12:]], "has wavelengths that do not rise", 12),
            (lambda rows: ["1700,8.5"] * len(rows), "has wavelengths that do not rise", 2),
            (lambda rows: [row for row in rows[::2] for _ in range(2)], "has wavelengths that do not rise", 2),
            (lambda rows: [f"{row.split(',')[0]},0" for row in rows], "has bands without a width", 1),
            (lambda rows: [*rows[:4], f"{rows[4].split(',')[0]},-4", *rows[5:]], "has bands without a width", 5),
        ],
        ids=["reversed", "exchanged", "equal", "repeated", "no width", "negative width"],
    )
    def test_lists_that_lie_are_refused_unless_nominal_wavelengths_are_asked_for(
        self, tmp_path: Path, refusal: Refusal, spoil: Callable[[list[str]], list[str]], problem: str, row: int
    ) -> None:
        GF5B.write(tmp_path)
        path = GF5B.side_path(tmp_path, "SW", "Spectralresponse")
        path.write_text("\n".join(spoil(path.read_text().split())))
        error = refusal(tmp_path)
        assert error.code == "GS-WAVELENGTHS"
        assert error.message == f"{path.name} {problem}"
        assert f"file: {path}" in error.details
        assert f"found: row {row} with " in error.details[1]
        assert "--nominal-wavelengths" in error.hint
        product = open_product(tmp_path, nominal_wavelengths=True)
        assert f"SW: nominal wavelengths of GF-5B AHSI, as {path.name} {problem}" in product.notes
        assert product.bands.wavelength_nm[:150] == tuple(GF5B.centres("VN"))
        assert product.bands.wavelength_nm[150] == 1009.0

    @pytest.mark.parametrize("dark", [90, 91, 180])
    def test_a_detector_without_gains_is_refused(self, tmp_path: Path, refusal: Refusal, dark: int) -> None:
        GF5B.write(tmp_path)
        path = GF5B.side_path(tmp_path, "SW", "RadCal")
        rows = path.read_text().split()
        path.write_text("\n".join([*rows[: 180 - dark], *["0,0"] * dark]))
        if dark == 90:
            why = open_product(tmp_path).bands.why[150 + 91 :]
            assert all(why)
            assert "its gain is not above 0" in why
            return
        error = refusal(tmp_path)
        assert error.code == "GS-CALIBRATION-NUMBERS"
        assert error.message == f"{path.name} gives no gains"
        assert f"found: {dark} of 180 gains are 0 or less, first row {181 - dark}" in error.details


class TestImages:
    def test_names_swapped(self, tmp_path: Path, refusal: Refusal) -> None:
        GF5B.write(tmp_path)
        vn, sw = (tmp_path / f"{GF5B.stem}_{label}.tif" for label in WORDS)
        vn.rename(tmp_path / "x")
        sw.rename(vn)
        (tmp_path / "x").rename(sw)
        error = refusal(tmp_path)
        assert error.code == "GS-PRODUCT-SWAPPED"
        assert "found: 180 bands" in error.details or "found: 150 bands" in error.details

    def test_one_label_on_both(self, tmp_path: Path, refusal: Refusal) -> None:
        GF5B.write(tmp_path)
        (tmp_path / f"{GF5B.stem}_SW.tif").rename(tmp_path / f"{GF5B.stem}_VN.tiff")
        assert refusal(tmp_path).code == "GS-PRODUCT-SWAPPED"

    def test_two_images_of_one_detector(self, tmp_path: Path, refusal: Refusal) -> None:
        GF5B.write(tmp_path)
        write_image(tmp_path / f"{GF5B.stem}_VN.tiff", GF5B.dn("VN"))
        assert refusal(tmp_path).code == "GS-PRODUCT-BANDS"

    @pytest.mark.parametrize("bands", [1, 76, 149, 181])
    def test_a_number_of_bands_that_no_detector_has(self, tmp_path: Path, refusal: Refusal, bands: int) -> None:
        GF5B.write(tmp_path)
        write_image(tmp_path / f"{GF5B.stem}_VN.tif", np.ones((bands, LINES, SAMPLES), np.uint16))
        error = refusal(tmp_path)
        assert error.code == "GS-PRODUCT-BANDS"
        assert f"found: {bands} bands" in error.details
        assert "expected: 150 of VN, 180 of SW" in error.details

    def test_different_sizes(self, tmp_path: Path, refusal: Refusal) -> None:
        GF5B.write(tmp_path)
        write_image(tmp_path / f"{GF5B.stem}_SW.tif", GF5B.dn("SW")[:, :-1])
        error = refusal(tmp_path)
        assert error.code == "GS-PRODUCT-SIZE"
        assert {"VN: 7 lines of 5", "SW: 6 lines of 5"} <= set(error.details)

    def test_a_missing_image(self, tmp_path: Path, refusal: Refusal) -> None:
        GF5B.write(tmp_path)
        (tmp_path / f"{GF5B.stem}_SW.tif").unlink()
        error = refusal(tmp_path)
        assert error.code == "GS-PRODUCT-MISSING"
        assert "no SW image" in error.message

    def test_numbers_that_are_no_counts(self, tmp_path: Path, refusal: Refusal) -> None:
        GF5B.write(tmp_path)
        write_image(tmp_path / f"{GF5B.stem}_VN.tif", GF5B.radiance("VN").astype(np.float32))
        error = refusal(tmp_path)
        assert error.code == "GS-PRODUCT-TYPE"
        assert "calibrated already" in error.hint

    def test_an_image_that_is_cut_off(self, tmp_path: Path, refusal: Refusal) -> None:
        GF5B.write(tmp_path)
        path = tmp_path / f"{GF5B.stem}_SW.tif"
        path.write_bytes(path.read_bytes()[:-300])
        assert refusal(tmp_path).code == "GS-RASTER-TRUNCATED"
        path.write_bytes(b"nothing")
        assert refusal(tmp_path).code == "GS-RASTER-UNREADABLE"

    def test_a_map_grid_is_noted(self, tmp_path: Path) -> None:
        GF5B.write(tmp_path)
        grid = {"crs": "EPSG:32649", "transform": rasterio.Affine(30, 0, 5e5, 0, -30, 4e6)}
        write_image(tmp_path / f"{GF5B.stem}_SW.tif", GF5B.dn("SW"), **grid)
        assert any("map grid" in note for note in open_product(tmp_path).notes)


class TestCalibrationFiles:
    def spoil(self, folder: Path, label: str, what: str, edit: Callable[[list[str]], list[str]]) -> Path:
        path = GF5B.side_path(GF5B.write(folder), label, what)
        path.write_text("\n".join(edit(path.read_text().split("\n"))))
        return path

    @pytest.mark.parametrize("what", ["RadCal", "Spectralresponse"])
    @pytest.mark.parametrize("label", ["VN", "SW"])
    @pytest.mark.parametrize("wrong", [-1, 1])
    def test_too_few_or_too_many_lines(
        self, tmp_path: Path, refusal: Refusal, what: str, label: str, wrong: int
    ) -> None:
        count = GF5B.counts[label]
        path = self.spoil(tmp_path, label, what, lambda lines: [*lines[: count - 1], *lines[: 1 + wrong]])
        error = refusal(tmp_path)
        assert error.code == "GS-CALIBRATION-ROWS"
        assert error.details == (
            f"file: {path}", f"found: {count + wrong} lines", f"expected: {count}, one for each band",
        )  # fmt: skip
        assert f"tables={{'{label}_{'gains' if what == 'RadCal' else 'response'}': 'FILE'}}" in error.hint

    def test_a_short_list_is_not_repeated_for_zy1(self, tmp_path: Path, refusal: Refusal) -> None:
        path = ZY1E.side_path(ZY1E.write(tmp_path), "SW", "RadCal")
        path.write_text("\n".join(path.read_text().splitlines()[:45]))
        assert refusal(tmp_path).code == "GS-CALIBRATION-ROWS"

    def test_swapped_files_are_recognised(self, tmp_path: Path, refusal: Refusal) -> None:
        GF5B.write(tmp_path)
        vn, sw = (GF5B.side_path(tmp_path, label, "RadCal") for label in WORDS)
        vn.rename(tmp_path / "x")
        sw.rename(vn)
        (tmp_path / "x").rename(sw)
        assert any("swapped" in line for line in refusal(tmp_path).details)

    @pytest.mark.parametrize("line", ["gain,offset", "0.1,?", "0.1,nan", "inf,0", "0.1,0,7", "0.1", "0,1,0"])
    def test_lines_that_are_no_numbers(self, tmp_path: Path, refusal: Refusal, line: str) -> None:
        self.spoil(tmp_path, "SW", "RadCal", lambda lines: [*lines[:41], line, *lines[42:]])
        error = refusal(tmp_path)
        assert error.code == "GS-CALIBRATION-NUMBERS"
        assert error.message.endswith("has no numbers in line 42")
        assert f"found: {line!r}" in error.details

    def test_other_columns(self, tmp_path: Path, refusal: Refusal) -> None:
        self.spoil(tmp_path, "SW", "RadCal", lambda lines: [f"1,{line}" for line in lines if line])
        error = refusal(tmp_path)
        assert error.code == "GS-CALIBRATION-NUMBERS"
        assert any("3 columns" in line for line in error.details)

    def test_a_raw_image_is_no_list(self, tmp_path: Path, refusal: Refusal) -> None:
        GF5B.side_path(GF5B.write(tmp_path), "VN", "RadCal").write_bytes(b"1,0\n" * 400_000)
        assert refusal(tmp_path).code == "GS-CALIBRATION-NUMBERS"

    @pytest.mark.parametrize("nm", [100.0, 5000.0, -3.0])
    def test_numbers_that_are_no_wavelengths(self, tmp_path: Path, refusal: Refusal, nm: float) -> None:
        self.spoil(tmp_path, "SW", "Spectralresponse", lambda lines: [f"{nm},8.5", *lines[1:]])
        assert refusal(tmp_path).code == "GS-WAVELENGTHS"

    def test_wavelengths_of_the_other_detector(self, tmp_path: Path, refusal: Refusal) -> None:
        other = [f"{nm},4.3" for nm in np.linspace(1000, 2500, 150)]
        self.spoil(tmp_path, "VN", "Spectralresponse", lambda _: other)
        assert refusal(tmp_path).code == "GS-WAVELENGTHS"

    @pytest.mark.parametrize("label", ["VN", "SW"])
    def test_a_missing_file(self, tmp_path: Path, refusal: Refusal, label: str) -> None:
        path = GF5B.side_path(GF5B.write(tmp_path), label, "RadCal")
        path.unlink()
        error = refusal(tmp_path)
        assert error.code == "GS-CALIBRATION-MISSING"
        assert path.name in " ".join(error.details)

    def test_two_files_of_one_kind(self, tmp_path: Path, refusal: Refusal) -> None:
        GF5B.write(tmp_path)
        (tmp_path / "GF5B_AHSI_VNIR_RadCal.raw").write_text("1\n")
        assert refusal(tmp_path).code == "GS-CALIBRATION-SEVERAL"

    def test_own_tables_stand_for_those_of_the_product(self, tmp_path: Path, refusal: Refusal) -> None:
        GF5B.side_path(GF5B.write(tmp_path), "SW", "RadCal").write_text("0.5\n")
        own = tmp_path / "own.txt"
        own.write_text("0.25 1.5\n" * 180)
        sw = open_product(tmp_path, tables={"SW_gains": own}).detectors[1]
        assert set(zip(sw.calibration.gains, sw.calibration.offsets, strict=True)) == {(0.25, 1.5)}
        assert refusal(tmp_path, tables={"SW_gains": tmp_path / "none"}).code == "GS-FILE-UNREADABLE"
        with pytest.raises(UsageError, match="GS-TABLES"):
            open_product(tmp_path, tables={"gains": own})


class TestMetadata:
    def test_what_the_xml_tells(self, tmp_path: Path) -> None:
        product = open_product(GF5B.write(tmp_path))
        found = product.metadata
        assert (found.sun_zenith_deg, found.sun_azimuth_deg, found.view_zenith_deg) == (60.25, 178.5, 0.5)
        assert (found.lines, found.samples, found.satellite) == (LINES, SAMPLES, "GF5B")
        assert found.corners == ((112.9, 36.6), (113.5, 36.5), (113.4, 36.0), (112.8, 36.1))
        assert found.start_time == "2022-12-08 13:05:09.25"
        assert found.acquired == "2022-12-08T13:05:09.250000+08:00"
        assert found.zone_assumed
        assert any("Beijing" in note for note in product.notes)

    @pytest.mark.parametrize("zone", ["Z", "+08:00"])
    def test_a_zone_in_the_file_is_taken(self, tmp_path: Path, zone: str) -> None:
        made = replace(GF5B, xml=XML.replace("13:05:09.25", f"13:05:09{zone}"))
        product = open_product(made.write(tmp_path))
        assert product.acquired == "2022-12-08T13:05:09+0" + {"Z": "0:00", "+08:00": "8:00"}[zone]
        assert not product.metadata.zone_assumed

    def test_a_product_without_xml(self, tmp_path: Path) -> None:
        product = open_product(replace(GF5B, xml=None).write(tmp_path))
        assert product.metadata.sun_zenith_deg is None
        assert product.acquired == "2022-12-08"
        assert any("no XML" in note for note in product.notes)

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            (" 60.25 ", "N/A", "SolarZenith is 'N/A'"),
            (" 60.25 ", "223", "SolarZenith is '223'"),
            (" 60.25 ", "", "gives no SolarZenith"),
            ("<SolarZenith> 60.25 </SolarZenith>", "", "gives no SolarZenith"),
            ("2022-12-08 13", "yesterday 13", "StartTime is 'yesterday"),
            ("2022-12-08 13", "2022-13-45 13", "StartTime is '2022-13-45"),
            ("2022-12-08 13", "2021-12-08 13", "not the day in the product's name"),
            ("<LinesInPixels>7<", "<LinesInPixels>9<", "the XML says 9 lines of 5"),
        ],
    )
    def test_odd_values_are_noted_and_passed_over(self, tmp_path: Path, old: str, new: str, said: str) -> None:
        assert old in XML
        product = open_product(replace(GF5B, xml=XML.replace(old, new)).write(tmp_path))
        assert any(said in note for note in product.notes), product.notes

    def test_any_order_nesting_and_namespace(self) -> None:
        text = b"<a:x xmlns:a='u'><b><a:SOLARZENITH>10</a:SOLARZENITH></b><SolarZenith>50</SolarZenith></a:x>"
        assert read_metadata(text, "a.xml").sun_zenith_deg == 10

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("<!DOCTYPE x [<!ENTITY a 'ha'>" + "".join(
                f"<!ENTITY {chr(98 + n)} '{('&' + chr(97 + n) + ';') * 10}'>" for n in range(9)
            ) + "]><x><SolarZenith>&j;</SolarZenith></x>", "GS-XML-UNSAFE"),
            ("<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><x><SceneID>&a;</SceneID></x>", "GS-XML-UNSAFE"),
            ("<x>" * 100_000, "GS-XML-UNSAFE"),
            ("<x><SolarZenith>10</SolarZenith>", "GS-XML-BROKEN"),
            ("", "GS-XML-BROKEN"),
            ("no xml at all", "GS-XML-BROKEN"),
            ("<?xml version='1.0' encoding='klingon'?><x/>", "GS-XML-BROKEN"),
        ],
    )  # fmt: skip
    def test_hostile_and_broken_files(self, tmp_path: Path, refusal: Refusal, text: str, code: str) -> None:
        error = refusal(replace(GF5B, xml=text).write(tmp_path))
        assert error.code == code
        assert f"file: {tmp_path / GF5B.stem}.xml" in error.details

    def test_a_huge_file(self, tmp_path: Path, refusal: Refusal) -> None:
        path = GF5B.write(tmp_path) / f"{GF5B.stem}.xml"
        with path.open("wb") as file:
            file.truncate(51 * 2**20)
        assert refusal(tmp_path).code == "GS-XML-SIZE"

    def test_rpb_files_are_read_by_rasterio(self, tmp_path: Path) -> None:
        product = open_product(GF5B.write(tmp_path))
        vn, sw = (one.rpcs for one in product.detectors)
        assert vn is not None
        assert sw is not None
        assert (vn.line_off, sw.line_off) == (3.0, 3.5)
        assert (vn.lat_off, vn.long_off, vn.height_off) == (36.31, 113.2, 800)
        assert list(vn.line_num_coeff) == [0, 0, -1.0, *[0] * 17]
        with rasterio.transform.RPCTransformer(vn) as transform:
            row, col = transform.rowcol(113.2 + 0.35 * 0.5, 36.31, 800.0, op=float)
        assert (row, col) == pytest.approx((3.0, 2.0 + 0.5 * 2.0), abs=0.51)  # pixel corners or centres

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("lineOffset = 3.0", "lineOffset = abc"),
            ("-1.000000E+00", "xyz"),
            ("-1.000000E+00", "1e999"),
            ("lineScale = 3.0", "lineScale = 0"),
            ("latOffset = 3", "latOffset = 113"),
            ("    lineScale = 3.0;\n", ""),
            ("1.000000E+00,\n", ""),
        ],
    )
    def test_a_damaged_rpb(self, tmp_path: Path, refusal: Refusal, old: str, new: str) -> None:
        path = GF5B.write(tmp_path) / f"{GF5B.stem}_VN.rpb"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        assert refusal(tmp_path).code == "GS-RPC-DAMAGED"

    @pytest.mark.parametrize(
        ("size", "said"),
        [(0, "no lineOffset"), (300, "no heightScale"), (0.7, "no sampDenCoef"), (0.99, "ends without END;")],
    )
    def test_a_cut_rpb_is_damaged_and_not_missing(
        self, tmp_path: Path, refusal: Refusal, size: float, said: str
    ) -> None:
        path = GF5B.write(tmp_path) / f"{GF5B.stem}_VN.rpb"
        text = path.read_text()
        path.write_text(text[: int(size * len(text)) if size < 1 else int(size)])
        error = refusal(tmp_path)
        assert error.code == "GS-RPC-DAMAGED"
        assert f"{path.name} " in error.details[1]
        assert said in error.details[1]

    def test_changed_side_files_give_errors_of_geosoil_or_products(self, tmp_path: Path) -> None:
        files = [path for path in ZY1F.write(tmp_path).iterdir() if path.suffix in {".raw", ".rpb", ".xml"}]
        rng = np.random.default_rng(0)
        opened = refused = 0
        for trial in range(36):
            path = files[trial % len(files)]
            sound = path.read_bytes()
            changed = np.frombuffer(sound, np.uint8).copy()
            changed[rng.integers(0, len(sound), 4)] = rng.integers(0, 256, 4)
            path.write_bytes(changed.tobytes()[: int(rng.integers(len(sound) // 2, 3 * len(sound)))])
            try:
                opened += open_product(tmp_path).shape == (166, LINES, SAMPLES)
            except GeosoilError:
                refused += 1
            path.write_bytes(sound)
        assert opened > 0
        assert refused > 0

    def test_no_rpb_is_noted(self, tmp_path: Path) -> None:
        product = open_product(GF5.write(tmp_path))
        assert [one.rpcs for one in product.detectors] == [None, None]
        assert any("no RPC for VN and SW" in note for note in product.notes)


class TestWindows:
    @pytest.fixture
    def truth(self) -> NDArray[np.float64]:
        return GF5B.truth()

    @pytest.mark.parametrize(
        "bands", [[0], [3], [149], [150], [329], [153, 3], [329, 0, 150, 149], list(range(3, 330, 7)), [5, 5]]
    )
    def test_some_bands_give_what_all_bands_give(
        self, tmp_path: Path, truth: NDArray[np.float64], bands: list[int]
    ) -> None:
        reader = open_product(GF5B.write(tmp_path)).reader
        found = reader.read(np.array(bands), (0, 6), (1, 5))
        np.testing.assert_allclose(found, truth[bands, 0:6, 1:5], rtol=3e-7, atol=1e-6)
        taken = reader.take(bands)
        assert taken.shape == (len(bands), LINES, SAMPLES)
        np.testing.assert_array_equal(taken.read(np.arange(len(bands)), (0, 6), (1, 5)), found)
        np.testing.assert_array_equal(taken.take([0]).read(np.array([0]), (0, 6), (1, 5)), found[:1])

    def test_a_zero_is_data_where_another_band_has_light(self, tmp_path: Path) -> None:
        reader = open_product(GF5B.write(tmp_path)).reader
        dead, dim = reader.read(np.array([3, 0]), (0, LINES), (0, SAMPLES))
        np.testing.assert_array_equal(dead[1:], np.float32(GF5B.offsets("VN")[3]))
        assert np.isnan(dead[0]).all()
        assert dim[4, 2] == np.float32(GF5B.offsets("VN")[0])  # only the last band is not 0 here

    def test_a_gap_of_one_detector_is_its_own(self, tmp_path: Path) -> None:
        GF5B.write(tmp_path)
        values = GF5B.dn("SW")
        values[:, 5, 1] = 0
        write_image(tmp_path / f"{GF5B.stem}_SW.tif", values)
        found = open_product(tmp_path).reader.read(np.arange(330), (5, 6), (1, 2))[:, 0, 0]
        assert np.isfinite(found[:150]).all()
        assert np.isnan(found[150:]).all()

    @pytest.mark.parametrize("nodata", [0, 65535])
    def test_a_declared_nodata_value(self, tmp_path: Path, nodata: int) -> None:
        GF5B.write(tmp_path)
        values = GF5B.dn("VN")
        values[20, 6, 4] = 65535
        write_image(tmp_path / f"{GF5B.stem}_VN.tif", values, nodata=nodata)
        found = open_product(tmp_path).reader.read(np.arange(150), (0, LINES), (0, SAMPLES))
        assert np.isnan(found[20, 6, 4]) == (nodata == 65535)
        assert np.isfinite(np.delete(found[:, 1:], 20, axis=0)).all()
        assert np.isnan(found[:, 0]).all()

    @pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "uint8"])
    @pytest.mark.parametrize("interleave", ["band", "pixel"])
    def test_types_and_interleaves(self, tmp_path: Path, dtype: str, interleave: str) -> None:
        made = replace(ZY1E, dtype=dtype, driver={"interleave": interleave})
        product = open_product(made.write(tmp_path))
        assert {one.dtype for one in product.detectors} == {dtype}
        found = product.reader.read(np.arange(166), (2, 5), (0, SAMPLES))
        np.testing.assert_allclose(found, made.truth()[:, 2:5], rtol=3e-7, atol=1e-6)

    def test_gains_that_floats_hold_give_exact_values(self, tmp_path: Path) -> None:
        folder = GF5B.write(tmp_path)
        own = tmp_path / "own.txt"
        own.write_text("0.0625 -1.5\n" * 180)
        reader = open_product(folder, tables={"SW_gains": own}).reader
        found = reader.read(np.arange(150, 330), (1, LINES), (0, SAMPLES))
        np.testing.assert_array_equal(found, GF5B.dn("SW")[:, 1:] * 0.0625 - 1.5)

    def test_a_window_needs_little_more_memory_than_itself(self, tmp_path: Path) -> None:
        GF5B.write(tmp_path)
        values = np.random.default_rng(0).integers(1, 9999, (180, 120, 100)).astype(np.uint16)
        for label, count in GF5B.counts.items():
            write_image(tmp_path / f"{GF5B.stem}_{label}.tif", values[:count])
        reader, bands = open_product(tmp_path).reader, np.arange(330)
        reader.read(bands, (0, 1), (0, 1))
        tracemalloc.start()
        try:
            found = reader.read(bands, (0, 120), (0, 100))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < found.nbytes + values.nbytes + 2**20

    def test_negative_counts_stay_negative(self, tmp_path: Path) -> None:
        ZY1F.write(tmp_path)
        values = ZY1F.dn("SW")
        values[8, 2, 2] = -7
        write_image(tmp_path / f"{ZY1F.stem}_SW.tiff", values)
        found = open_product(tmp_path).reader.read(np.array([76 + 8]), (2, 3), (2, 3)).item()
        assert found == pytest.approx(-7 * ZY1F.gains("SW")[8] + ZY1F.offsets("SW")[8])

    def test_it_is_a_window_reader_for_dask_threads_and_processes(
        self, tmp_path: Path, truth: NDArray[np.float64]
    ) -> None:
        reader: WindowReader = open_product(GF5B.write(tmp_path)).reader
        sent = pickle.loads(pickle.dumps(reader))  # noqa: S301
        for one in (reader, sent):
            found = lazy_array(one, 2).compute(scheduler="threads", num_workers=4)
            np.testing.assert_allclose(found, truth, rtol=3e-7, atol=1e-6)
        assert lazy_array(reader, 2).name == lazy_array(sent, 2).name

    def test_an_image_that_is_damaged_later_is_an_error(self, tmp_path: Path) -> None:
        made = replace(GF5B, driver={"compress": "deflate", "interleave": "band"})
        product = open_product(made.write(tmp_path))
        path = product.detectors[1].path
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2 :] = bytes(len(raw) - len(raw) // 2)
        path.write_bytes(raw)
        with pytest.raises(InputError, match="GS-RASTER"):
            open_product(tmp_path).reader.read(np.arange(330), (0, LINES), (0, SAMPLES))


class TestReader:
    def test_the_registry_finds_it(self, tmp_path: Path) -> None:
        folder = GF5B.write(tmp_path / "made")
        archive = pack(folder, tmp_path / f"{GF5B.stem}.tar.gz")
        for path in (folder, folder / f"{GF5B.stem}_SW.tif", archive):
            assert isinstance(reader_for(str(path)), Gaofen)

    def test_what_it_does_not_take(self, tmp_path: Path) -> None:
        reader: Reader = Gaofen()
        folder = GF5B.write(tmp_path / "made")
        write_image(tmp_path / "a.tif", np.ones((3, 4, 4), np.uint8))
        write_image(folder / f"{GF5B.stem}.tif", np.ones((3, 4, 4), np.uint8))
        (tmp_path / "b.tar").write_bytes(b"x" * 3000)
        for path in (tmp_path / "a.tif", tmp_path, tmp_path / "b.tar", tmp_path / "none", folder / f"{GF5B.stem}.tif"):
            assert not reader.accepts(str(path))
        assert not reader.accepts(f"s3://bucket/{GF5B.stem}_VN.tif")
        assert not reader.accepts("")

    def test_a_renamed_archive_is_known_by_what_is_in_it(self, tmp_path: Path) -> None:
        archive = pack(GF5B.write(tmp_path / "made"), tmp_path / "download.tar.gz")
        assert Gaofen().accepts(str(archive))

    def test_it_opens_in_sensor_geometry(self, tmp_path: Path) -> None:
        folder = GF5B.write(tmp_path)
        opened = Gaofen().open(str(folder), mapped=False)
        assert opened.geobox.crs is None
        assert tuple(opened.geobox.shape) == opened.reader.shape[1:] == (LINES, SAMPLES)
        assert opened.geobox.affine * (2, 3) == (2, 3)  # sample and line, lines counted downwards
        assert len(opened.bands) == 330
        facts = opened.facts
        assert (facts["quantity"], facts["units"], facts["sensor"]) == (
            "radiance", "W m-2 sr-1 um-1", "GF-5B AHSI",
        )  # fmt: skip
        assert facts["acquired"] == "2022-12-08T13:05:09.250000+08:00"
        assert facts["sun_zenith_deg"] == 60.25
        assert facts["notes"] == open_product(folder).notes
        assert [Path(one).name for one in opened.sources] == [f"{GF5B.stem}_{label}.tif" for label in WORDS]

    def test_a_map_grid_needs_geosoil_calibrate(self, tmp_path: Path) -> None:
        folder = GF5B.write(tmp_path / "made")
        archive = pack(folder, tmp_path / f"{GF5B.stem}.tar")
        for path, mapped, code in (
            (folder, True, "GS-GRID-MISSING"),
            (archive, True, "GS-PRODUCT-PACKED"),
            (archive, False, "GS-PRODUCT-PACKED"),
        ):
            with pytest.raises(InputError, match=code) as caught:
                Gaofen().open(str(path), mapped=mapped)
            assert f"geosoil calibrate {path.name} OUT.tif" in caught.value.hint


class TestDescribe:
    @pytest.mark.parametrize("made", ALL, ids=[made.family for made in ALL])
    @pytest.mark.parametrize("inner", ["", "inner/"])
    def test_an_archive_is_described_as_its_folder(self, tmp_path: Path, made: Made, inner: str) -> None:
        folder = made.write(tmp_path / "made")
        archive = pack(folder, tmp_path / "a.tar.gz", inner)
        unpacked, packed = describe(folder), describe(archive)
        assert json.loads(json.dumps(packed)) == packed
        assert packed == unpacked | {"packed": True}
        assert unpacked["packed"] is False
        assert packed["shape"] == [sum(made.counts.values()), LINES, SAMPLES]
        assert packed["sun"]["zenith_deg"] == 60.25
        assert packed["rpc"] == (["VN", "SW"] if made.rpb else [])
        assert len([band for band in packed["bands"] if not band["good"]]) > 10
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "made"]

    def test_an_archive_without_xml(self, tmp_path: Path) -> None:
        found = describe(pack(replace(GF5B, xml=None).write(tmp_path / "made"), tmp_path / "a.tar.gz"))
        assert found["shape"] == [330, LINES, SAMPLES]
        assert found["acquired"] == "2022-12-08"

    def test_an_archive_that_lacks_an_image(self, tmp_path: Path) -> None:
        folder = GF5B.write(tmp_path / "made")
        (folder / f"{GF5B.stem}_SW.tif").rename(folder / "kept")
        (folder / f"{GF5B.stem}_VN.tif").rename(folder / f"{GF5B.stem}_VN.geotiff")
        with pytest.raises(InputError, match="GS-PRODUCT-MISSING") as caught:
            describe(pack(folder, tmp_path / "a.tar"))
        assert f"expected: {GF5B.stem}_SW.geotiff with 180 bands" in caught.value.details
        assert f"product: {tmp_path / 'a.tar'}" in caught.value.details

    def test_archives_of_none_and_of_two_products(self, tmp_path: Path) -> None:
        for count, code in ((0, "GS-ARCHIVE-EMPTY"), (2, "GS-PRODUCT-SEVERAL")):
            with tarfile.open(tmp_path / "a.tar", "w") as tar:
                tar.addfile(tarfile.TarInfo("readme.txt"), io.BytesIO())
                for number in range(count):
                    tar.addfile(tarfile.TarInfo(f"{GF5B.stem}{number}_VN.tif"), io.BytesIO())
            with pytest.raises(InputError, match=code):
                describe(tmp_path / "a.tar")

    def test_hostile_xml_in_an_archive(self, tmp_path: Path) -> None:
        bomb = "<!DOCTYPE x [<!ENTITY a 'ha'><!ENTITY b '&a;&a;'>]><x>&b;</x>"
        archive = pack(replace(GF5B, xml=bomb).write(tmp_path / "made"), tmp_path / "a.tar.gz")
        with pytest.raises(InputError, match="GS-XML-UNSAFE"):
            describe(archive)
