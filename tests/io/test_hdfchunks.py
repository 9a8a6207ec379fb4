"""Parts of HDF5 datasets are those that HDF5 itself gives, and no chunk becomes more than its cells take."""

from __future__ import annotations

import zlib
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from geosoil import open_scene
from geosoil.errors import InputError
from geosoil.io.hdfchunks import part

SHAPE, CHUNKS = (5, 37, 41), (2, 16, 10)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> h5py.File:
    """Datasets of all types and filters, with chunks at the edge and chunks that nobody has written."""
    rng = np.random.default_rng(0)
    file = h5py.File(tmp_path_factory.mktemp("hdf") / "a.h5", "w")
    for dtype in ("f4", ">f4", "i2", ">i2", "u1", "f8"):
        for shuffle in (False, True):
            for fletcher32 in (False, True):
                one = file.create_dataset(
                    f"{dtype} {shuffle} {fletcher32}", SHAPE, dtype, chunks=CHUNKS, compression="gzip",
                    shuffle=shuffle, fletcher32=fletcher32, fillvalue=7, maxshape=(None, None, None),
                )  # fmt: skip
                one[...] = (200 * rng.random(SHAPE)).astype(dtype)
                one.resize([size + 20 for size in SHAPE])
    file.create_dataset("plain", data=rng.random(SHAPE))
    file.create_dataset("lzf", data=rng.random(SHAPE), chunks=CHUNKS, compression="lzf")
    return file


@st.composite
def keys(draw: st.DrawFn) -> tuple[int | slice, ...]:
    """A whole number, or a slice with a step, for each axis."""
    found: list[int | slice] = []
    for size in (size + 20 for size in SHAPE):
        first, last = sorted(draw(st.tuples(st.integers(0, size), st.integers(0, size))))
        step = draw(st.integers(1, 3))
        kinds: list[int | slice] = [min(first, size - 1), slice(first, last), slice(first, last, step)]
        found.append(draw(st.sampled_from(kinds)))
    return tuple(found)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_part_is_what_hdf5_gives(stored: h5py.File, data: st.DataObject) -> None:
    one = stored[data.draw(st.sampled_from([name for name in stored if name not in {"plain", "lzf"}]))]
    key = data.draw(keys())
    found = part(one, key)
    np.testing.assert_array_equal(found, one[key], strict=True)


@pytest.mark.parametrize("name", ["plain", "lzf"])
def test_what_is_not_deflated_is_left_to_hdf5(stored: h5py.File, name: str) -> None:
    key = (slice(1, 4), 5, slice(0, 30, 7))
    np.testing.assert_array_equal(part(stored[name], key), stored[name][key], strict=True)


def test_a_chunk_to_which_a_filter_was_not_applied_is_read(tmp_path: Path) -> None:
    values = np.arange(16, dtype="f4").reshape(4, 4)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        one = file.create_dataset("v", (4, 4), "f4", chunks=(4, 4), compression="gzip", shuffle=True)
        one.id.write_direct_chunk((0, 0), values.tobytes(), filter_mask=0b11)
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(part(file["v"], (slice(None), slice(None))), values)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda raw: zlib.compress(bytes(65)), "more than the 64 bytes"),
        (lambda raw: zlib.compress(bytes(60)), "holds 60 bytes"),
        (lambda raw: raw[:-3], "ends in the middle"),
        (lambda raw: raw[:5] + b"x" + raw[6:], "cannot be inflated"),
    ],
)
def test_a_damaged_chunk_is_told(tmp_path: Path, spoil: Any, words: str) -> None:
    values = np.arange(16, dtype="f4").reshape(4, 4)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        one = file.create_dataset("v", (4, 4), "f4", chunks=(4, 4), compression="gzip")
        one.id.write_direct_chunk((0, 0), spoil(zlib.compress(values.tobytes())))
        with pytest.raises(OSError, match=words):
            part(one, (0, slice(0, 2)))


def test_a_deflated_netcdf_file_is_the_scene_that_it_was(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(-500, 9000, (3, 50, 60)).astype("i2")
    values[0, :4] = -999
    array = xr.DataArray(
        values, dims=("time", "y", "x"),
        coords={"time": [1, 2, 3], "y": 30.0 * np.arange(50), "x": 30.0 * np.arange(60)},
        attrs={"scale_factor": 0.1, "_FillValue": np.int16(-999)}, name="v",
    )  # fmt: skip
    encoding: dict[Hashable, Any] = {"v": {"zlib": True, "shuffle": True, "chunksizes": (2, 16, 20)}}
    array.to_netcdf(tmp_path / "a.nc", engine="h5netcdf", encoding=encoding)
    scene = open_scene(tmp_path / "a.nc", crs="EPSG:32755")
    expected = np.where(values == -999, np.nan, values * 0.1)[:, ::-1]
    np.testing.assert_allclose(scene.values, expected, rtol=1e-6)
    np.testing.assert_allclose(scene[2, 5:9, ::-7].values, expected[2, 5:9, ::-7], rtol=1e-6)
    with h5py.File(tmp_path / "a.nc", "r+") as file:
        file["v"].id.write_direct_chunk((0, 16, 20), zlib.compress(bytes(10**6)))
    with pytest.raises(InputError, match="cannot be read") as caught:
        scene.values.sum()
    assert "more than the 1,280 bytes" in caught.value.render()
