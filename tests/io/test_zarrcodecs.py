"""Zarr stores of all usual codecs are read as they were written; damaged, endless and dangerous ones are refused."""

from __future__ import annotations

import json
import pickle  # noqa: TID251  (a scene crosses process borders; nothing is stored)
import warnings
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec
from zarr.registry import get_codec_class

from geosoil.errors import InputError
from geosoil.io.raster import open_scene
from geosoil.io.zarrcodecs import CheckedBlosc, checked_codecs

SECOND: dict[str, Any] = {
    "blosc": numcodecs.Blosc(),
    "zlib": numcodecs.Zlib(),
    "gzip": numcodecs.GZip(),
    "bz2": numcodecs.BZ2(),
    "lzma": numcodecs.LZMA(),
    "lz4": numcodecs.LZ4(),
    "zstd": numcodecs.Zstd(),
    "none": None,
}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # they are not in the specification
    OTHERS = {
        f"numcodecs {name}": get_codec_class(f"numcodecs.{name}")()
        for name in ("blosc", "zlib", "gzip", "bz2", "lzma", "lz4", "zstd")
    }
THIRD: dict[str, Any] = {"blosc": BloscCodec(), "gzip": GzipCodec(), "zstd": ZstdCodec(), **OTHERS}
SHARDS = {"chunks": (8, 8), "shards": (16, 24)}


def values() -> np.ndarray:
    return np.random.default_rng(0).random((32, 24), np.float32).round(1)


def store(path: Path, number: int, compressor: Any, **encoding: Any) -> Path:
    """A store with one band, in the second or third format."""
    frame = xr.Dataset(
        {"band": (("y", "x"), values())},
        coords={"y": 6_700_000 - 30.0 * np.arange(32), "x": 500_000 + 30.0 * np.arange(24)},
        attrs={"crs": "EPSG:32755"},
    )
    how = {"band": {"compressors": compressor, "chunks": (16, 24), **encoding}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame.to_zarr(path, zarr_format=number, encoding=how, consolidated=number == 2)
    return path


def refused(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        open_scene(path).compute()
    return caught.value


def outcome(path: Path) -> str:
    try:
        open_scene(path).compute()
    except InputError as error:
        return error.code
    return "ok"


@pytest.mark.parametrize("name", SECOND)
def test_the_second_format_comes_back(tmp_path: Path, name: str) -> None:
    scene = open_scene(store(tmp_path / "a.zarr", 2, SECOND[name]))
    np.testing.assert_array_equal(scene.values[0], values())


@pytest.mark.parametrize("name", THIRD)
@pytest.mark.parametrize("shards", [{}, SHARDS], ids=["chunks", "shards"])
def test_the_third_format_comes_back(tmp_path: Path, name: str, shards: dict[str, Any]) -> None:
    scene = open_scene(store(tmp_path / "a.zarr", 3, THIRD[name], **shards))
    np.testing.assert_array_equal(scene.values[0], values())


@pytest.mark.parametrize(("number", "name"), [(2, "blosc"), (3, "blosc"), (3, "numcodecs zlib")])
def test_a_scene_goes_to_another_process(tmp_path: Path, number: int, name: str) -> None:
    path = store(tmp_path / "a.zarr", number, (SECOND if number == 2 else THIRD)[name])
    scene = pickle.loads(pickle.dumps(open_scene(path)))  # noqa: S301
    np.testing.assert_array_equal(scene.values[0], values())


@pytest.mark.parametrize("name", ["blosc", "zlib", "gzip", "bz2", "lzma", "lz4", "zstd"])
def test_a_chunk_that_unpacks_to_far_more_than_its_cells(tmp_path: Path, name: str) -> None:
    path = store(tmp_path / "a.zarr", 2, SECOND[name])
    (path / "band/0.0").write_bytes(bytes(SECOND[name].encode(np.zeros(2**25, np.uint8))))
    error = refused(path)
    assert error.code == "GS-RASTER-READ"
    assert any("33,554,432 bytes or more" in line or "16,777,217 bytes or more" in line for line in error.details)


@pytest.mark.parametrize("shards", [{}, SHARDS], ids=["chunks", "shards"])
@pytest.mark.parametrize("name", THIRD)
def test_the_same_in_the_third_format(tmp_path: Path, name: str, shards: dict[str, Any]) -> None:
    path = store(tmp_path / "a.zarr", 3, THIRD[name], **shards)
    large = zarr.create_array(
        tmp_path / "b.zarr", shape=(2**23,), chunks=(2**23,), dtype="f4", compressors=THIRD[name], fill_value=1.0
    )
    large[:] = np.zeros(2**23, np.float32)
    bomb = (tmp_path / "b.zarr/c/0").read_bytes()
    if shards:
        # One inner chunk and its index; the other two are missing.
        index = np.full((6, 2), 2**64 - 1, "<u8")
        index[0] = 0, len(bomb)
        bomb += bytes(numcodecs.CRC32C(location="end").encode(index.tobytes()))
    (path / "band/c/0/0").write_bytes(bomb)
    error = refused(path)
    assert error.code == "GS-RASTER-READ"
    assert any("bytes or more" in line for line in error.details), error.details


def stream_of_zeros(blocks: int) -> bytes:
    """A frame of Zstandard that does not tell its size: blocks of 128 KiB of one byte."""
    block = (2**17 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (2**17 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd" + bytes([0, 7 << 3]) + block * (blocks - 1) + last


@pytest.mark.parametrize("number", [2, 3])
def test_a_stream_of_zstandard_is_measured_by_its_blocks(tmp_path: Path, number: int) -> None:
    assert bytes(numcodecs.Zstd().decode(stream_of_zeros(3))) == bytes(3 * 2**17)
    path = store(tmp_path / "a.zarr", number, (SECOND if number == 2 else THIRD)["zstd"])
    (path / ("band/0.0" if number == 2 else "band/c/0/0")).write_bytes(stream_of_zeros(40_000))
    error = refused(path)
    assert error.code == "GS-RASTER-READ"
    assert any("5,242,880,000 bytes or more" in line for line in error.details)


@pytest.mark.parametrize("number", [2, 3])
def test_every_byte_of_a_header_may_be_wrong(tmp_path: Path, number: int) -> None:
    path = store(tmp_path / "a.zarr", number, (SECOND if number == 2 else THIRD)["blosc"])
    chunk = path / ("band/0.0" if number == 2 else "band/c/0/0")
    sound = chunk.read_bytes()
    for place in range(16):
        for value in (0, 1, 127, 255):
            chunk.write_bytes(sound[:place] + bytes([value]) + sound[place + 1 :])
            assert outcome(path) in {"ok", "GS-RASTER-READ"}
    for size in (*range(20), *range(20, len(sound), 7)):
        chunk.write_bytes(sound[:size])
        assert refused(path).code == "GS-RASTER-READ"


def test_pickled_data_are_refused_by_name(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", 2, None)
    for name in ("band/.zarray", ".zmetadata"):
        text = (path / name).read_text(encoding="utf-8")
        told = json.loads(text)
        (told["metadata"]["band/.zarray"] if name == ".zmetadata" else told)["filters"] = [{"id": "pickle"}]
        (path / name).write_text(json.dumps(told), encoding="utf-8")
    assert refused(path).code == "GS-RASTER-UNREADABLE"


def test_codecs_of_others_are_as_they_were(tmp_path: Path) -> None:
    before = dict(numcodecs.registry.codec_registry), zarr.config.get("codecs.blosc")
    path = store(tmp_path / "a.zarr", 3, THIRD["blosc"])
    open_scene(path).compute()
    with checked_codecs(largest=100):
        assert isinstance(numcodecs.get_codec({"id": "blosc"}), CheckedBlosc)
    assert (dict(numcodecs.registry.codec_registry), zarr.config.get("codecs.blosc")) == before
