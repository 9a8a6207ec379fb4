"""EnMAP L2A products: image and METADATA.XML together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from geosoil.bands import Bands
from geosoil.errors import InputError
from geosoil.io.raster import open_scene
from geosoil.testing import write_raster

from .cubes import reflectance

if TYPE_CHECKING:
    from numpy.typing import NDArray

Refusal = Callable[..., InputError]
STEM = "ENMAP01-____L2A-DT0000001867_20220724T104526Z_008_V010302_20230628T165614Z"
#: Two detectors that overlap between 902 and 993 nm, as the sensor's do.
CENTRES = [418.24, 600.0, 800.0, 911.5, 993.08, 902.26, 951.2, 1200.0, 2200.0, 2445.53]


def metadata(level: str = "L2A", centres: list[float] = CENTRES, more: str = "") -> str:
    listed = "".join(
        f'<bandID number="{place}"><wavelengthCenterOfBand>{one}</wavelengthCenterOfBand><FWHMOfBand>{one / 100}'
        "</FWHMOfBand><GainOfBand>0.0001</GainOfBand><OffsetOfBand>0.0</OffsetOfBand></bandID>"
        for place, one in enumerate(centres, start=1)
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>{more}<level_X><base><level>{level}</level><temporalCoverage>
    <startTime>2022-07-24T10:45:26.123Z</startTime></temporalCoverage></base><specific>
    <sunElevationAngle unit="DEG"><center>51.5</center></sunElevationAngle><backgroundValue>-32768</backgroundValue>
    <bandCharacterisation>{listed}</bandCharacterisation></specific></level_X>"""


@pytest.fixture
def stored() -> NDArray[np.int16]:
    values = np.round(reflectance(10) * 10_000).astype(np.int16)
    values[:, :5] = -32768
    return values


@pytest.fixture
def product(tmp_path: Path, stored: NDArray[np.int16]) -> Path:
    folder = tmp_path / STEM
    folder.mkdir()
    write_raster(folder / f"{STEM}-SPECTRAL_IMAGE.TIF", stored, crs="EPSG:32633")
    write_raster(folder / f"{STEM}-QL_QUALITY_CLOUD.TIF", stored[:1], crs="EPSG:32633")
    (folder / f"{STEM}-METADATA.XML").write_text(metadata(), encoding="utf-8")
    return folder


@pytest.mark.parametrize("part", ["", "-SPECTRAL_IMAGE.TIF", "-METADATA.XML"])
def test_the_folder_the_image_and_the_metadata_are_the_same_product(
    product: Path, stored: NDArray[np.int16], part: str
) -> None:
    scene = open_scene(product / f"{STEM}{part}" if part else product)
    assert scene.shape == (10, 24, 36)
    expected = np.where(stored == -32768, np.nan, stored / 10_000)
    np.testing.assert_allclose(scene.values, expected, rtol=1e-6)
    bands = Bands.of(scene)
    assert bands.wavelength_nm == tuple(CENTRES)
    np.testing.assert_allclose(bands.fwhm_nm, np.array(CENTRES) / 100)
    assert scene.odc.geobox.crs.epsg == 32633
    assert len(scene.attrs["sources"]) == 2
    assert scene.attrs["acquired"] == "2022-07-24T10:45:26.123Z"
    assert scene.attrs["sun_zenith_deg"] == 38.5
    assert (scene.attrs["quantity"], scene.attrs["sensor"]) == ("reflectance", "EnMAP HSI")


def test_only_the_short_wave_detector_is_used_where_both_see(product: Path) -> None:
    bands = Bands.of(open_scene(product))
    lost = [one for one, why in zip(bands.wavelength_nm, bands.why, strict=True) if why == "detector overlap"]
    assert lost == [911.5, 993.08]
    assert sum(bands.good) == 8


def test_bands_are_ordered_by_their_number(product: Path) -> None:
    path = product / f"{STEM}-METADATA.XML"
    text = path.read_text(encoding="utf-8")
    first, last = text.index("<bandID"), text.rindex("</bandID>") + len("</bandID>")
    pieces = text[first:last].split("</bandID>")[:-1]
    turned = "".join(f"{one}</bandID>" for one in reversed(pieces))
    path.write_text(text[:first] + turned + text[last:], encoding="utf-8")
    assert Bands.of(open_scene(product)).wavelength_nm == tuple(CENTRES)


def break_count(folder: Path) -> None:
    (folder / f"{STEM}-METADATA.XML").write_text(metadata(centres=CENTRES[:-1]), encoding="utf-8")


def break_level(folder: Path) -> None:
    (folder / f"{STEM}-METADATA.XML").write_text(metadata("L1C"), encoding="utf-8")


def break_xml(folder: Path) -> None:
    (folder / f"{STEM}-METADATA.XML").write_text(metadata()[:-30], encoding="utf-8")


def break_number(folder: Path) -> None:
    text = metadata().replace("<wavelengthCenterOfBand>600.0", "<wavelengthCenterOfBand>six hundred")
    (folder / f"{STEM}-METADATA.XML").write_text(text, encoding="utf-8")


def bomb(folder: Path) -> None:
    entities = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]>'
    (folder / f"{STEM}-METADATA.XML").write_text(metadata("&c;", more=entities), encoding="utf-8")


def outside(folder: Path) -> None:
    entities = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]>'
    (folder / f"{STEM}-METADATA.XML").write_text(metadata("&b;", more=entities), encoding="utf-8")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (break_count, "in the metadata: 9 bands"),
        (break_level, "is of level L1C"),
        (break_xml, "is no XML that can be read"),
        (break_number, "six hundred"),
        (bomb, "is no XML that can be read"),
        (outside, "is no XML that can be read"),
    ],
)
def test_metadata_that_cannot_be_trusted_are_refused(
    refusal: Refusal, product: Path, harm: Callable[[Path], None], words: str
) -> None:
    harm(product)
    error = refusal(product)
    assert error.code == "GS-ENMAP"
    assert words in error.render()


def test_of_a_folder_with_two_products_one_has_to_be_named(refusal: Refusal, product: Path) -> None:
    for name in ("SPECTRAL_IMAGE.TIF", "METADATA.XML"):
        (product / f"OTHER-{name}").write_bytes((product / f"{STEM}-{name}").read_bytes())
    error = refusal(product)
    assert error.code == "GS-BANDS-TWICE"
    assert "OTHER-SPECTRAL_IMAGE.TIF" in error.render()
    assert open_scene(product / "OTHER-METADATA.XML").shape[0] == 10
