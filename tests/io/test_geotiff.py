"""A cube is written whole with all that is known of its bands, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from geosoil.bands import Bands
from geosoil.errors import GeosoilError, OutputError
from geosoil.io.geotiff import write_cube
from geosoil.io.staging import Staged, Staging, check_space, workspace

from ..conftest import file_size_limit  # noqa: TID252  (tests are no package that is installed)

BANDS = Bands(
    ("a", "b", "c"),
    wavelength_nm=(450.125, 1000.0, 2200.5),
    fwhm_nm=(4.3, 8.4, 8.4),
    good=(True, False, True),
    why=("", "listed", ""),
)
GRID = GeoBox((300, 40), Affine(30, 0, 690_000, 0, -30, 4_020_000), "EPSG:32649")


def cube(seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(0, 1, (3, 300, 40)).astype(np.float32)
    values[:, 250:260, 5] = np.nan
    values[1, 0, 0] = np.nan
    return values


def windows(values: np.ndarray) -> Callable[..., Callable[[np.ndarray], np.ndarray]]:
    return lambda rows, cols: lambda bands: values[bands, rows[0] : rows[1], cols[0] : cols[1]]


def write(path: Path, values: np.ndarray, dtype: str = "float32", compress: str = "none") -> dict[str, int]:
    tags = {"quantity": "reflectance"}
    return write_cube(path, windows(values), BANDS, GRID, tags=tags, dtype=dtype, compress=compress)


@pytest.mark.parametrize("compress", ["none", "zstd", "deflate"])
def test_values_grid_and_bands_come_back(tmp_path: Path, compress: str) -> None:
    values = cube()
    counts = write(tmp_path / "c.tif", values, compress=compress)
    assert counts == {"cells": 12_000, "valid": 11_990, "clipped": 0}
    with rasterio.open(tmp_path / "c.tif") as file:
        np.testing.assert_array_equal(file.read(), values)
        assert file.transform == GRID.affine
        assert file.crs.to_epsg() == 32649
        assert file.descriptions == BANDS.names
        assert file.tags()["quantity"] == "reflectance"
        assert [file.tags(index).get("wavelength") for index in file.indexes] == ["450.125", "1000.0", "2200.5"]
        assert file.tags(2)["bbl"] == "0"
        assert file.tags(2)["why"] == "listed"
        assert file.tags(1, ns="IMAGERY") == {"CENTRAL_WAVELENGTH_UM": "0.450125", "FWHM_UM": "0.004300"}


def test_whole_numbers_have_their_scale_and_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    values = cube()
    values[0, 1, 1:3] = [5.0, -4.0]
    counts = write(tmp_path / "c.tif", values, "int16")
    assert counts["clipped"] == 2
    with rasterio.open(tmp_path / "c.tif") as file:
        stored = file.read()
        assert file.nodata == -32768
        assert file.scales == (0.0001,) * 3
    np.testing.assert_array_equal(stored == -32768, np.isnan(values))
    assert stored[0, 1, 1:3].tolist() == [32767, -32767]
    inside = np.isfinite(values) & (np.abs(values) < 3)
    np.testing.assert_allclose(stored[inside] * 1e-4, values[inside], atol=5.1e-5)


@pytest.mark.parametrize("size", [0, 4096, 100_000, 140_000])
def test_a_full_disk_leaves_nothing(tmp_path: Path, size: int) -> None:
    with file_size_limit(size), pytest.raises(OutputError) as caught:
        write(tmp_path / "c.tif", cube())
    assert caught.value.code in {"GS-NO-SPACE", "GS-NOT-VERIFIED", "GS-NOT-WRITABLE"}
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_at_staging_is_said(tmp_path: Path) -> None:
    def stage() -> None:
        with Staging(tmp_path / "s.bsq", (3, 300, 40)) as staging:
            staging.write(0, cube())
            staging.finish()

    with file_size_limit(50_000), pytest.raises(OutputError) as caught:
        stage()
    assert caught.value.code == "GS-NO-SPACE"


@pytest.mark.parametrize(("dtype", "compress"), [("int8", "none"), ("float32", "jpeg")])
def test_what_cannot_be_stored_is_refused(tmp_path: Path, dtype: str, compress: str) -> None:
    with pytest.raises(GeosoilError) as caught:
        write(tmp_path / "c.tif", cube(), dtype, compress)
    assert caught.value.code == "GS-CUBE-SETTINGS"


def test_staged_lines_come_back_in_any_window(tmp_path: Path) -> None:
    values = cube()
    with Staging(tmp_path / "s.bsq", (3, 300, 40)) as staging:
        for first in range(0, 300, 77):
            staging.write(first, values[:, first : first + 77])
        staged: Staged = staging.finish()
    assert staged.shape == (3, 300, 40)
    found = staged.take([2, 0]).read(np.array([1, 0]), (70, 90), (3, 9))
    np.testing.assert_array_equal(found, values[[0, 2], 70:90, 3:9])


def test_a_workspace_is_private_and_goes_away(tmp_path: Path) -> None:
    def work() -> None:
        with workspace(tmp_path) as folder:
            (folder / "part").write_text("x")
            assert folder.stat().st_mode & 0o777 == 0o700
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError), workspace(tmp_path / "none"):
        pass


def test_too_little_room_is_said_before(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        check_space({tmp_path: 10**18, tmp_path.parent: 10})
    assert caught.value.code == "GS-NO-SPACE"
    check_space({tmp_path: 1000})
