"""The layer of masked cells: an entry for each set of reasons that occurs, named by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from geosoil.io.qgis.flags import flag_document, flag_style
from geosoil.prep.masks import NAMES, NODATA


@pytest.fixture
def flags(tmp_path: Path) -> Path:
    """Clear cells, cloud, cloud over water, an unnamed bit, and cells without data."""
    values = np.zeros((40, 50), np.uint16)
    values[:5] = NAMES["cloud"]
    values[5:9] = NAMES["cloud"] | NAMES["water"]
    values[9:12] = NAMES["dry vegetation"]
    values[12:14] = 1024
    values[14:18] = NODATA
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint16", "height": 40, "width": 50, "nodata": NODATA}
    path = tmp_path / "masked.tif"
    with rasterio.open(path, "w", crs="EPSG:32649", transform=from_origin(0, 1200, 30, 30), **profile) as file:
        file.write(values, 1)
        file.update_tags(
            flag_masks=" ".join(str(NAMES[one]) for one in ("cloud", "water", "dry vegetation")),
            flag_meanings="cloud water dry_vegetation",
        )
    return path


def test_each_set_of_reasons_that_occurs_has_an_entry_and_clear_cells_have_none(flags: Path) -> None:
    labels = {int(entry.value): entry.label for entry in flag_style(flags).entries}
    assert labels == {1: "cloud", 9: "cloud, water", 32: "dry vegetation", 1024: "1024"}


def test_cloud_over_water_has_the_colour_of_cloud(flags: Path) -> None:
    colours = {int(entry.value): entry.colour for entry in flag_style(flags).entries}
    assert colours[9] == colours[1] != colours[32] != colours[1024]


def test_the_style_file_paints_the_values_of_the_raster(flags: Path) -> None:
    renderer = flag_document(flags).find("pipe/rasterrenderer")
    assert renderer is not None
    assert renderer.get("type") == "paletted"
    entries = renderer.findall(".//paletteEntry")
    assert sorted(int(float(entry.get("value", ""))) for entry in entries) == [1, 9, 32, 1024]
    assert all(entry.get("label") for entry in entries)


def test_a_raster_without_names_shows_its_numbers(flags: Path) -> None:
    with rasterio.open(flags, "r+") as file:
        file.update_tags(flag_masks="", flag_meanings="")
    assert [entry.label for entry in flag_style(flags).entries] == ["1", "9", "32", "1024"]


def test_a_raster_without_masked_cells_has_an_empty_legend(flags: Path) -> None:
    with rasterio.open(flags, "r+") as file:
        file.write(np.zeros((40, 50), np.uint16), 1)
    assert flag_style(flags).entries == ()
    assert flag_document(flags).tag == "qgis"
