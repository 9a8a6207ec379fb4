"""Parts of Zarr arrays are those that Zarr itself gives; what is stored in other ways is left to it."""

from __future__ import annotations

import pickle  # noqa: TID251  (a scene crosses process borders; nothing is stored)
import warnings
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, GzipCodec, TransposeCodec, ZstdCodec
from zarr.registry import get_codec_class

from geosoil.io.zarrchunks import ZarrArray, array_of
from geosoil.io.zarrcodecs import checked_codecs

SHAPE, CHUNKS = (5, 23, 31), (2, 8, 10)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it is not in the specification
    ZLIB = get_codec_class("numcodecs.zlib")()
READ: dict[str, dict[str, Any]] = {
    "2 blosc": {"zarr_format": 2, "compressors": numcodecs.Blosc()},
    "2 zlib, folders": {
        "zarr_format": 2,
        "compressors": numcodecs.Zlib(),
        "chunk_key_encoding": {"name": "v2", "separator": "/"},
    },
    "2 lz4, turned": {"zarr_format": 2, "compressors": numcodecs.LZ4(), "dtype": ">i2"},
    "2 plain": {"zarr_format": 2, "compressors": None, "dtype": "u1"},
    "3 blosc": {"zarr_format": 3, "compressors": BloscCodec()},
    "3 gzip": {"zarr_format": 3, "compressors": GzipCodec(), "dtype": "i4"},
    "3 zstd, turned": {"zarr_format": 3, "compressors": ZstdCodec(), "serializer": BytesCodec(endian="big")},
    "3 zlib": {"zarr_format": 3, "compressors": ZLIB, "dtype": "f8"},
    "3 plain": {"zarr_format": 3, "compressors": None, "dtype": "u1"},
}
LEFT: dict[str, dict[str, Any]] = {
    "shards": {"zarr_format": 3, "shards": (4, 16, 20)},
    "filters": {"zarr_format": 2, "filters": [numcodecs.Delta("f4")]},
    "columns first": {"zarr_format": 2, "order": "F"},
    "turned round": {"zarr_format": 3, "filters": [TransposeCodec(order=(2, 1, 0))]},
    "two codecs": {"zarr_format": 3, "compressors": [GzipCodec(), ZstdCodec()]},
    "truth values": {"zarr_format": 2, "dtype": "bool"},
}


def make(path: Path, dtype: str = "f4", **how: Any) -> tuple[zarr.Array[Any], ZarrArray | None]:
    """An array with a chunk that was never written, and how we read it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = zarr.create_array(path, name="v", shape=SHAPE, chunks=CHUNKS, dtype=dtype, fill_value=1, **how)
    values = (200 * np.random.default_rng(0).random(SHAPE)).astype(dtype)
    made[:4] = values[:4]
    with checked_codecs():
        return made, array_of(zarr.open_group(path, mode="r")["v"], str(path))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[zarr.Array[Any], ZarrArray]]:
    found = {}
    for name, how in READ.items():
        made, ours = make(tmp_path_factory.mktemp("zarr") / "a.zarr", **how)
        assert ours is not None, name
        found[name] = made, ours
    return found


@settings(deadline=None, max_examples=80)
@given(name=st.sampled_from(list(READ)), data=st.data())
def test_a_part_is_what_zarr_gives(
    stored: dict[str, tuple[zarr.Array[Any], ZarrArray]], name: str, data: st.DataObject
) -> None:
    made, ours = stored[name]
    key: list[int | slice] = []
    for size in SHAPE:
        first, last = sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size))))
        step = data.draw(st.integers(1, 3))
        kinds: list[int | slice] = [min(first, size - 1), slice(first, last), slice(first, last, step)]
        key.append(data.draw(st.sampled_from(kinds)))
    found = ours.part(key)
    np.testing.assert_array_equal(found, np.asarray(made[:])[tuple(key)], strict=True)


def test_it_goes_to_another_process(stored: dict[str, tuple[zarr.Array[Any], ZarrArray]]) -> None:
    for made, ours in stored.values():
        again = pickle.loads(pickle.dumps(ours))  # noqa: S301
        np.testing.assert_array_equal(again.part((slice(None),) * 3), made[:])


@pytest.mark.parametrize("name", LEFT)
def test_what_is_stored_in_another_way_is_left_to_zarr(tmp_path: Path, name: str) -> None:
    assert make(tmp_path / "a.zarr", **LEFT[name])[1] is None


@pytest.mark.parametrize(
    ("content", "words"),
    [(bytes(639), "holds 639 bytes"), (bytes(641), "holds 641 bytes"), (bytes(2**24 + 1), "has 16,777,217 bytes")],
)
def test_a_chunk_of_another_size_is_told(tmp_path: Path, content: bytes, words: str) -> None:
    _, ours = make(tmp_path / "a.zarr", zarr_format=2, compressors=None)
    assert ours is not None
    (tmp_path / "a.zarr/v/0.0.0").write_bytes(content)
    with pytest.raises(OSError, match=words):
        ours.part((0, slice(0, 2), 3))
