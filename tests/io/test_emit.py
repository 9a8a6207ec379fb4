"""EMIT L2A: a swath put on the map through its lookup table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
import xarray as xr
from odc.geo.crs import CRS

from geosoil.bands import Bands
from geosoil.errors import InputError
from geosoil.grid.patches import read_window
from geosoil.io.raster import open_scene

from .cubes import reflectance, wavelengths

if TYPE_CHECKING:
    from geosoil.types import Float64

Refusal = Callable[..., InputError]
LINES, SAMPLES, BANDS = 15, 20, 9


def write(path: Path) -> Float64:
    """A file; what it is on the map is worked out cell by cell."""
    swath = reflectance(BANDS, (LINES, SAMPLES)).transpose(1, 2, 0).astype(np.float32)
    swath[3, 4] = -9999
    rng = np.random.default_rng(0)
    across, down = rng.integers(1, SAMPLES + 1, (25, 30)), rng.integers(1, LINES + 1, (25, 30))
    across[:, :6] = down[:, :6] = 0
    across[0, 10], down[0, 10] = 5, 4
    truth = np.full((BANDS, 25, 30), np.nan)
    for row in range(25):
        for col in range(30):
            if across[row, col] and (down[row, col], across[row, col]) != (4, 5):
                truth[:, row, col] = swath[down[row, col] - 1, across[row, col] - 1]
    with h5py.File(path, "w") as file:
        file["reflectance"] = swath
        file["reflectance"].attrs["_FillValue"] = np.float32(-9999)
        file["sensor_band_parameters/wavelengths"] = np.array(wavelengths(BANDS), np.float32)
        file["sensor_band_parameters/fwhm"] = np.full(BANDS, 8.5, np.float32)
        file["sensor_band_parameters/good_wavelengths"] = np.array([1, 1, 1, 1, 0, 1, 1, 1, 1], np.float32)
        file["location/glt_x"], file["location/glt_y"] = across.astype(np.int32), down.astype(np.int32)
        file.attrs["geotransform"] = np.array([13.0, 0.0005, 0, 52.5, 0, -0.0005])
        file.attrs["spatial_ref"] = CRS("EPSG:4326").to_wkt()
        file.attrs["time_coverage_start"] = "2023-01-01T10:00:00+0000"
    return truth


def test_each_cell_of_the_map_has_the_spectrum_that_the_table_names(tmp_path: Path) -> None:
    truth = write(tmp_path / "EMIT_L2A_RFL.nc")
    scene = open_scene(tmp_path / "EMIT_L2A_RFL.nc")
    np.testing.assert_array_equal(scene.values, truth.astype(np.float32))
    bands = Bands.of(scene)
    np.testing.assert_allclose(bands.wavelength_nm, wavelengths(BANDS), rtol=1e-6)
    assert bands.fwhm_nm == (8.5,) * BANDS
    assert bands.why[4] == "listed bad in the file"
    assert sum(bands.good) == BANDS - 1
    assert scene.odc.geobox.crs.epsg == 4326
    assert tuple(scene.odc.geobox.affine)[:6] == (0.0005, 0, 13.0, 0, -0.0005, 52.5)
    assert (scene.attrs["sensor"], scene.attrs["quantity"]) == ("EMIT", "reflectance")


def test_windows_and_bands_are_parts_of_the_whole(tmp_path: Path) -> None:
    write(tmp_path / "e.nc")
    whole = open_scene(tmp_path / "e.nc").values
    scene = open_scene(tmp_path / "e.nc", chunks=6)
    np.testing.assert_array_equal(scene.values, whole)
    np.testing.assert_array_equal(read_window(scene, (3, 9), (4, 25)), whole[:, 3:9, 4:25])
    # A window in which the table names nothing.
    assert np.isnan(read_window(scene, (3, 9), (0, 5))).all()
    some = open_scene(tmp_path / "e.nc", bands=["B9", "B2"])
    np.testing.assert_array_equal(some.values, whole[[8, 1]])


def far_table(file: h5py.File) -> None:
    file["location/glt_x"][0, 20] = SAMPLES + 1


def short_list(file: h5py.File) -> None:
    del file["sensor_band_parameters/fwhm"]
    file["sensor_band_parameters/fwhm"] = np.ones(BANDS - 1)


def rotated(file: h5py.File) -> None:
    file.attrs["geotransform"] = np.array([13.0, 0.0005, 0.0001, 52.5, 0, -0.0005])


@pytest.mark.parametrize(
    ("harm", "words"), [(far_table, "outside its image"), (short_list, "fwhm: 8"), (rotated, "no north-up grid")]
)
def test_a_file_that_differs_is_refused_by_what_differs(
    refusal: Refusal, tmp_path: Path, harm: Callable[[h5py.File], None], words: str
) -> None:
    write(tmp_path / "e.nc")
    with h5py.File(tmp_path / "e.nc", "r+") as file:
        harm(file)
    error = refusal(tmp_path / "e.nc")
    assert error.code == "GS-EMIT"
    assert words in error.render()


def test_a_file_without_crs_asks_for_one(refusal: Refusal, tmp_path: Path) -> None:
    write(tmp_path / "e.nc")
    with h5py.File(tmp_path / "e.nc", "r+") as file:
        del file.attrs["spatial_ref"]
    assert refusal(tmp_path / "e.nc").code == "GS-CRS-MISSING"
    assert open_scene(tmp_path / "e.nc", crs="EPSG:4326").odc.geobox.crs.epsg == 4326


def test_other_files_of_netcdf_are_opened_as_before(tmp_path: Path) -> None:
    values = xr.DataArray(np.ones((3, 4)), dims=("y", "x"), coords={"y": [3.0, 2, 1], "x": [1.0, 2, 3, 4]}, name="dem")
    values.to_dataset().to_netcdf(tmp_path / "dem.nc", engine="h5netcdf")
    assert open_scene(tmp_path / "dem.nc", crs="EPSG:32755")["band"].values.tolist() == ["dem"]
