"""PRISMA L2D: cubes of lines, bands and samples, stored by falling wavelength."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from geosoil.bands import Bands
from geosoil.errors import InputError
from geosoil.grid.patches import read_window
from geosoil.io.raster import open_scene

from .cubes import reflectance

if TYPE_CHECKING:
    from geosoil.types import Float64

Refusal = Callable[..., InputError]
FIELDS = "HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields"
VNIR = [977.4, 860.0, 700.0, 550.0, 410.0, 0.0]
SWIR = [2490.0, 2200.0, 1600.0, 1000.0, 943.0, 0.0, 0.0]
SCALE = {"Vnir": (0.0, 0.9), "Swir": (-0.01, 0.8)}


def stored(values: Float64, low: float, high: float) -> Any:
    return np.round((values - low) / (high - low) * 65535).astype(np.uint16)


def write(path: Path, *, shift: float = 15.0, **changed: Any) -> Float64:
    """A product, and its reflectance by rising wavelength within each detector; the first lines lie outside."""
    shape = (20, 30)
    truth = {}
    with h5py.File(path, "w") as file:
        for side, centres in (("Vnir", VNIR), ("Swir", SWIR)):
            used = sum(one > 0 for one in centres)
            values = reflectance(used, shape, seed=used)
            truth[side] = values
            cube = np.zeros((shape[0], len(centres), shape[1]), np.uint16)
            # Falling wavelengths first, unused bands last.
            cube[:, :used] = stored(values[::-1], *SCALE[side]).transpose(1, 0, 2)
            cube[:4] = 0
            file[f"{FIELDS}/{side.upper()}_Cube"] = cube
            file.attrs[f"List_Cw_{side}"] = np.array(centres, np.float32)
            file.attrs[f"List_Fwhm_{side}"] = np.where(np.array(centres) > 0, 10.0, 0).astype(np.float32)
            for name, value in zip(("Min", "Max"), SCALE[side], strict=True):
                file.attrs[f"L2Scale{side}{name}"] = np.float32(value)
        corners = {"UL": (500_000 + shift, 4_600_000 - shift), "LR": (500_900 - shift, 4_599_400 + shift)}
        for name, (east, north) in corners.items():
            file.attrs[f"Product_{name}corner_easting"] = float(east)
            file.attrs[f"Product_{name}corner_northing"] = float(north)
        file.attrs["Epsg_Code"] = 32633
        file.attrs["Product_StartTime"] = np.bytes_("2021-06-01T10:00:00.000")
        file.attrs["Sun_zenith_angle"] = 30.5
        for name, value in changed.items():
            file.attrs[name] = value
    return np.concatenate([truth["Vnir"], truth["Swir"]])


@pytest.mark.parametrize("shift", [15.0, 0.0], ids=["corners are centres of cells", "corners are edges"])
def test_a_product_comes_by_rising_wavelength_on_its_grid(tmp_path: Path, shift: float) -> None:
    truth = write(tmp_path / "PRS_L2D.he5", shift=shift)
    scene = open_scene(tmp_path / "PRS_L2D.he5")
    bands = Bands.of(scene)
    np.testing.assert_allclose(bands.wavelength_nm, [*VNIR[4::-1], *SWIR[4::-1]], rtol=1e-6)
    np.testing.assert_allclose(scene.values[:, 4:], truth[:, 4:], atol=1e-5)
    assert np.isnan(scene.values[:, :4]).all()
    assert tuple(scene.odc.geobox.affine)[:6] == (30, 0, 500_000, 0, -30, 4_600_000)
    assert scene.odc.geobox.crs.epsg == 32633
    assert scene.attrs["acquired"] == "2021-06-01T10:00:00.000"
    assert scene.attrs["sun_zenith_deg"] == 30.5
    assert bands.names[0] == "VNIR 5"


def test_the_detectors_are_joined_in_the_middle_of_their_overlap(tmp_path: Path) -> None:
    write(tmp_path / "a.he5")
    bands = Bands.of(open_scene(tmp_path / "a.he5"))
    lost = [round(one, 1) for one, good in zip(bands.wavelength_nm, bands.good, strict=True) if not good]
    assert lost == [977.4, 943.0]


def test_windows_and_bands_are_parts_of_the_whole(tmp_path: Path) -> None:
    write(tmp_path / "a.he5")
    whole = open_scene(tmp_path / "a.he5").values
    scene = open_scene(tmp_path / "a.he5", chunks=7)
    np.testing.assert_array_equal(scene.values, whole)
    np.testing.assert_array_equal(read_window(scene, (3, 9), (11, 25)), whole[:, 3:9, 11:25])
    names = scene["band"].values.tolist()
    some = open_scene(tmp_path / "a.he5", bands=[names[8], names[1], names[3]])
    np.testing.assert_array_equal(some.values, whole[[8, 1, 3]])


def test_zero_in_one_band_is_a_value_inside_the_image(tmp_path: Path) -> None:
    write(tmp_path / "a.he5")
    with h5py.File(tmp_path / "a.he5", "r+") as file:
        file[f"{FIELDS}/SWIR_Cube"][10, 0, 10] = 0
    scene = open_scene(tmp_path / "a.he5")
    np.testing.assert_allclose(scene.values[9, 10, 10], -0.01, atol=1e-6)


def drop_epsg(file: h5py.File) -> None:
    del file.attrs["Epsg_Code"]


def drop_cube(file: h5py.File) -> None:
    del file[f"{FIELDS}/SWIR_Cube"]


def short_list(file: h5py.File) -> None:
    file.attrs["List_Cw_Vnir"] = np.array([500.0, 400.0], np.float32)


def narrow(file: h5py.File) -> None:
    cube = file[f"{FIELDS}/SWIR_Cube"][:, :, :-2]
    del file[f"{FIELDS}/SWIR_Cube"]
    file[f"{FIELDS}/SWIR_Cube"] = cube


def far(file: h5py.File) -> None:
    file.attrs["Product_LRcorner_easting"] = 700_000.0


@pytest.mark.parametrize(
    ("harm", "code", "words"),
    [
        (drop_epsg, "GS-RASTER-UNREADABLE", "Epsg_Code"),
        (drop_cube, "GS-RASTER-UNREADABLE", "SWIR_Cube"),
        (short_list, "GS-PRISMA", "wavelengths: 2"),
        (narrow, "GS-PRISMA", "different size"),
        (far, "GS-PRISMA", "corners that do not fit"),
    ],
)
def test_a_product_that_differs_is_refused_by_what_differs(
    refusal: Refusal, tmp_path: Path, harm: Callable[[h5py.File], None], code: str, words: str
) -> None:
    write(tmp_path / "a.he5")
    with h5py.File(tmp_path / "a.he5", "r+") as file:
        harm(file)
    error = refusal(tmp_path / "a.he5")
    assert error.code == code
    assert words in error.render()


def test_a_file_that_was_cut_off_is_refused(refusal: Refusal, tmp_path: Path) -> None:
    write(tmp_path / "a.he5")
    content = (tmp_path / "a.he5").read_bytes()
    (tmp_path / "a.he5").write_bytes(content[: len(content) // 2])
    assert refusal(tmp_path / "a.he5").code == "GS-RASTER-UNREADABLE"
