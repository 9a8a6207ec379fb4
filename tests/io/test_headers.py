"""Files that cannot be used are refused on opening where that is cheap, else on reading; the error names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import xarray as xr

from geosoil.errors import InputError
from geosoil.grid.patches import read_window
from geosoil.io import gdal
from geosoil.io.raster import open_scene
from geosoil.testing import make_scene, write_raster

if TYPE_CHECKING:
    from geosoil.types import Float32

Refusal = Callable[..., InputError]


def numbers(bands: int = 1, shape: tuple[int, int] = (20, 30), seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(size=(bands, *shape)).astype(np.float32)


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


class TestBadFiles:
    """One clear error that names the file."""

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "empty"),
            (b"<!DOCTYPE html><html>404</html>", "web page"),
            (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
            (b"x;y;z\n1;2;3\n", "not recognized"),
            (b"PK\x03\x04" + bytes(100), "not recognized"),
        ],
    )
    def test_not_a_raster(self, refusal: Refusal, tmp_path: Path, content: bytes, reason: str) -> None:
        (tmp_path / "dem.tif").write_bytes(content)
        error = refusal(tmp_path / "dem.tif")
        assert error.code == "GS-RASTER-UNREADABLE"
        assert "dem.tif" in error.message
        assert reason in " ".join(error.details)

    @pytest.mark.parametrize("name", ["dem.tif", "*.tif", "."])
    def test_missing_files(self, refusal: Refusal, tmp_path: Path, name: str) -> None:
        (tmp_path / "den.tiff").write_bytes(b"") if name == "dem.tif" else None
        error = refusal(tmp_path / name)
        assert error.code == "GS-FILE-MISSING"
        if name == "dem.tif":
            assert "near: den.tiff" in error.details

    @pytest.mark.parametrize(
        "options", [{}, {"compress": "deflate"}, {"tiled": True, "blockxsize": 64, "blockysize": 64}]
    )
    @pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
    def test_truncated_tiff_is_found_on_opening(self, tmp_path: Path, options: dict[str, Any], share: float) -> None:
        path = cut(write_raster(tmp_path / "dem.tif", numbers(2, (200, 200)), **options), share)
        with pytest.raises(InputError, match=r"dem\.tif") as caught:
            open_scene(path)
        assert caught.value.code in {"GS-RASTER-TRUNCATED", "GS-RASTER-UNREADABLE"}

    def test_truncated_envi_says_both_sizes(self, refusal: Refusal, tmp_path: Path) -> None:
        path = cut(write_raster(tmp_path / "cube.img", numbers(2), driver="ENVI"), 0.9)
        error = refusal(path)
        assert error.code == "GS-RASTER-TRUNCATED"
        assert error.details[1:] == ("size: 4320 bytes", "its header says: 4800 bytes")

    @pytest.mark.parametrize("share", [0.3, 0.95])
    def test_truncated_netcdf(self, refusal: Refusal, tmp_path: Path, share: float) -> None:
        made = make_scene(shape=(60, 60)).drop_vars("classes").to_dataset("band").compute()
        made.to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")
        error = refusal(cut(tmp_path / "cube.nc", share))
        assert error.code in {"GS-RASTER-UNREADABLE", "GS-RASTER-READ"}
        assert "cube.nc" in error.render()

    def test_damaged_block_names_file_bands_and_window(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).normal(size=(2, 128, 128)).astype(np.float32)
        path = write_raster(
            tmp_path / "dem.tif", values, names=["p", "q"], compress="deflate", tiled=True, blockxsize=64, blockysize=64
        )
        with rasterio.open(path) as dataset:
            start = int(dataset.get_tag_item("BLOCK_OFFSET_0_1", "TIFF", bidx=1))
        content = bytearray(path.read_bytes())
        content[start : start + 200] = bytes(200)
        path.write_bytes(bytes(content))
        scene = open_scene(path, chunks=64)
        np.testing.assert_array_equal(read_window(scene, (0, 64), (0, 128)), values[:, :64])
        with pytest.raises(InputError) as caught:
            read_window(scene, (64, 128), (0, 64))
        error = caught.value
        assert error.code == "GS-RASTER-READ"
        assert error.message == "dem.tif cannot be read in rows 64-127"
        assert "bands: p, q" in error.details
        assert "window: rows 64 to 127, columns 0 to 63" in error.details
        # One bad block does not spoil what is whole.
        np.testing.assert_array_equal(read_window(scene, (0, 64), (0, 64)), values[:, :64, :64])

    def test_file_that_vanishes_after_opening(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gdal, "_idle", gdal._Idle(1))
        scene = open_scene([write_raster(tmp_path / f"{name}.tif", numbers()) for name in "ab"])
        (tmp_path / "a.tif").unlink()
        with pytest.raises(InputError, match=r"a\.tif") as caught:
            scene.compute()
        assert caught.value.code == "GS-RASTER-READ"

    def test_store_without_grid(self, refusal: Refusal, tmp_path: Path) -> None:
        xr.Dataset({"a": ("sample", np.ones(3))}).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
        error = refusal(tmp_path / "a.nc")
        assert error.code == "GS-RASTER-UNREADABLE"
        assert "a.nc" in error.message

    def test_other_drivers_are_not_tried(self, refusal: Refusal, tmp_path: Path) -> None:
        write_raster(tmp_path / "photo.png", np.zeros((1, 8, 8), np.uint8), driver="PNG")
        assert refusal(tmp_path / "photo.png").code == "GS-RASTER-UNREADABLE"

    def test_complex_numbers_are_refused(self, refusal: Refusal, tmp_path: Path) -> None:
        error = refusal(write_raster(tmp_path / "sar.tif", numbers().astype(np.complex64)))
        assert error.code == "GS-RASTER-UNREADABLE"
