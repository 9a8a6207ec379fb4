"""Blocks of files are decoded once, are shared by threads, stay in their room, and change no number."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import geosoil
from geosoil.grid.patches import window_spans
from geosoil.grid.tiles import Tile
from geosoil.io.blocks import Cut, read_blocks, shared_blocks, shares_blocks
from geosoil.io.lazy import cut_of_files
from geosoil.jobs.plan import _room

Span = tuple[int, int]


class Source:
    """An image that counts how often each of its blocks is decoded."""

    def __init__(self, shape: Span, cut: Span, slow: float = 0.0) -> None:
        self.image = np.arange(2 * shape[0] * shape[1], dtype=np.int32).reshape(2, *shape)
        self.cut = Cut(*cut, 2 * 4 * cut[0] * cut[1])
        self.slow = slow
        self.decoded: Counter[tuple[Span, Span]] = Counter()
        self.failing = 0

    def decode(self, rows: Span, cols: Span) -> NDArray[Any]:
        self.decoded[rows, cols] += 1
        time.sleep(self.slow)
        if self.failing:
            self.failing -= 1
            raise OSError("the disk is gone")
        return self.image[:, slice(*rows), slice(*cols)].copy()

    def read(self, rows: Span, cols: Span) -> NDArray[Any]:
        shape = (self.image.shape[1], self.image.shape[2])
        return read_blocks(id(self), self.cut, shape, rows, cols, self.decode)


edges = st.integers(1, 40)


class TestReading:
    @settings(max_examples=100, deadline=None)
    @given(shape=st.tuples(edges, edges), cut=st.tuples(edges, edges), room=st.integers(0, 20_000), data=st.data())
    def test_a_window_is_what_is_in_the_file(self, shape: Span, cut: Span, room: int, data: st.DataObject) -> None:
        source = Source(shape, cut)
        with shared_blocks(room):
            for _ in range(4):
                (rows, cols) = (
                    tuple(sorted(data.draw(st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True))))
                    for size in shape
                )
                found = source.read((rows[0], rows[1]), (cols[0], cols[1]))
                np.testing.assert_array_equal(found, source.image[:, slice(*rows), slice(*cols)])
                found[:] = -1  # a window is the caller's own

    def test_threads_that_read_side_by_side_decode_each_block_once(self) -> None:
        source = Source((64, 64), (16, 16), slow=0.002)
        windows = [((top, top + 20), (left, left + 20)) for top in range(0, 44, 4) for left in range(0, 44, 4)]
        with shared_blocks(10**6), ThreadPoolExecutor(4) as pool:
            for found, (rows, cols) in zip(pool.map(lambda one: source.read(*one), windows), windows, strict=True):
                np.testing.assert_array_equal(found, source.image[:, slice(*rows), slice(*cols)])
        assert set(source.decoded.values()) == {1}
        assert len(source.decoded) == 16

    def test_no_more_is_kept_than_there_is_room_for(self) -> None:
        source = Source((64, 64), (16, 16))
        with shared_blocks(5 * source.cut.bytes):
            for _ in range(2):
                source.read((0, 16), (0, 64))  # four blocks, which stay
            assert max(source.decoded.values()) == 1
            source.read((16, 32), (0, 32))  # the sixth drops the first of them
            source.read((0, 16), (16, 64))
            assert max(source.decoded.values()) == 1
            source.read((0, 16), (0, 16))
            assert source.decoded[(0, 16), (0, 16)] == 2

    def test_nothing_is_kept_when_a_run_has_ended(self) -> None:
        source = Source((16, 16), (16, 16))
        for times in (1, 2):
            assert not shares_blocks()
            with shared_blocks(10**6):
                assert shares_blocks()
                source.read((0, 16), (0, 16))
            assert source.decoded.total() == times

    def test_a_block_that_fails_for_one_thread_is_decoded_by_the_other(self) -> None:
        source = Source((16, 16), (16, 16), slow=0.05)
        source.failing = 1
        results: list[str] = []

        def read() -> None:
            try:
                results.append(str(source.read((0, 8), (0, 8)).shape))
            except OSError as error:
                results.append(str(error))

        with shared_blocks(10**6):
            threads = [threading.Thread(target=read) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
        assert sorted(results) == ["(2, 8, 8)", "the disk is gone"]


class TestOrder:
    """With the room that is planned, and tiles in the order that is, blocks are decoded as rarely as is promised."""

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
        cut=st.tuples(st.sampled_from((3, 4, 6, 8, 16)), st.sampled_from((3, 4, 6, 8, 16, 60))),
        size=st.sampled_from((4, 8, 16)),
        halo=st.integers(0, 3),
        spare=st.integers(0, 60_000),
    )
    def test_blocks_are_decoded_once_a_panel(self, shape: Span, cut: Span, size: int, halo: int, spare: int) -> None:
        source = Source(shape, cut)
        room, panel = _room(source.cut, size, halo, shape[1], 1, spare)
        assert room <= spare
        if not room:
            return
        corners = [(row, column) for row in range(0, shape[0], size) for column in range(0, shape[1], size)]
        tiles = [Tile(index, *corner, size, size) for index, corner in enumerate(corners)]
        tiles.sort(key=lambda tile: (tile.column // panel, tile.index))
        with shared_blocks(room):
            for tile in tiles:
                source.read(*window_spans(shape, tile.rows(halo), tile.columns(halo))[0])
        panels = [
            (max(0, left - halo) // cut[1], -(-min(shape[1], left + panel + halo) // cut[1]))
            for left in range(0, shape[1], panel)
        ]
        most = sum(last - first for first, last in panels) * -(-shape[0] // cut[0])
        assert source.decoded.total() <= most
        if panel >= shape[1]:
            assert set(source.decoded.values()) == {1}


class TestFiles:
    @pytest.mark.parametrize(
        ("options", "cut"),
        [
            ({"tiled": True, "blockxsize": 256, "blockysize": 128}, (128, 256)),
            ({"tiled": True, "blockxsize": 32, "blockysize": 48}, (144, 128)),  # as many as 128 cells take
            ({"blockysize": 5}, (130, 300)),  # strips
            ({"blockysize": 200}, (200, 300)),
        ],
    )
    def test_small_blocks_are_taken_together(self, options: dict[str, Any], cut: Span, tmp_path: Path) -> None:
        path = tmp_path / "scene.tif"
        image = np.random.default_rng(0).integers(0, 999, (3, 200, 300)).astype(np.int16)
        profile = {"driver": "GTiff", "width": 300, "height": 200, "count": 3, "dtype": "int16", "compress": "deflate"}
        grid = rasterio.Affine(30, 0, 0, 0, -30, 0)
        with rasterio.open(path, "w", crs="EPSG:32755", transform=grid, **profile, **options) as file:
            file.write(image)
        array = geosoil.open_scene(path).data
        assert cut_of_files(array) == Cut(*cut, 3 * 2 * cut[0] * cut[1])
        with shared_blocks(10**7):
            for rows, cols in ((slice(120, 140), slice(250, 300)), (slice(0, 200), slice(0, 300))):
                np.testing.assert_array_equal(array[:, rows, cols].compute(), image[:, rows, cols])
        names = [str(name) for name in geosoil.open_scene(path)["band"].values]
        assert cut_of_files(geosoil.open_scene(path, bands=names[:1]).data) == Cut(*cut, 2 * cut[0] * cut[1])
