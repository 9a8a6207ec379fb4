"""A finished tile is whole or not there; a ledger survives being cut off anywhere."""

from __future__ import annotations

import json
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geosoil.errors import OutputError
from geosoil.grid.spool import Ledger, Spool, write_tile
from geosoil.grid.tiles import Tile, plan_tiles

from ..conftest import file_size_limit  # noqa: TID252  (tests are no package that is installed)

if TYPE_CHECKING:
    from geosoil.types import Float32

SHAPE = (300, 290)
HEADER = {"key": "abc", "created": "2026-01-01T00:00:00+00:00"}


def numbers(outputs: int = 2, shape: tuple[int, int] = SHAPE) -> Float32:
    return np.random.default_rng(0).normal(size=(outputs, *shape)).astype(np.float32)


def fill(folder: Path, values: Float32, size: int = 128) -> Spool:
    """Spool an array tile by tile."""
    tiles = plan_tiles(values.shape[1], values.shape[2], size)
    done = {
        tile.index: write_tile(folder, tile, values[:, slice(*tile.rows()), slice(*tile.columns())]) for tile in tiles
    }
    return Spool(folder, tiles, len(values), done)


class TestTiles:
    """What was put on disk comes back, in any window."""

    @settings(max_examples=30, deadline=None)
    @given(
        rows=st.tuples(st.integers(0, SHAPE[0] - 1), st.integers(1, SHAPE[0])).filter(lambda span: span[0] < span[1]),
        columns=st.tuples(st.integers(0, SHAPE[1] - 1), st.integers(1, SHAPE[1])).filter(
            lambda span: span[0] < span[1]
        ),
        size=st.sampled_from([128, 256, 384]),
        output=st.integers(0, 1),
    )
    def test_a_window_over_any_tiles_is_the_window_of_the_whole(
        self,
        rows: tuple[int, int],
        columns: tuple[int, int],
        size: int,
        output: int,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> None:
        values = numbers()
        spool = fill(tmp_path_factory.mktemp("spool"), values, size)
        assert np.array_equal(spool.window(output, rows, columns), values[output, slice(*rows), slice(*columns)])

    def test_a_tile_without_any_value_takes_no_room_and_reads_as_missing(self, tmp_path: Path) -> None:
        values = numbers()
        values[:, :128, :128] = np.nan
        spool = fill(tmp_path, values)
        assert spool.done[0] is None
        assert len(list(tmp_path.iterdir())) == len(spool.tiles) - 1
        assert np.array_equal(spool.window(1, (0, 300), (0, 290)), values[1], equal_nan=True)
        assert spool.check(list(spool.done)) == []

    def test_a_tile_with_one_value_in_one_map_is_kept(self, tmp_path: Path) -> None:
        values = np.full((2, 128, 128), np.nan, np.float32)
        values[1, 127, 0] = 3
        spool = fill(tmp_path, values)
        assert np.array_equal(spool.window(1, (0, 128), (0, 128)), values[1], equal_nan=True)

    def test_the_checksum_is_that_of_the_bytes_on_the_disk(self, tmp_path: Path) -> None:
        tile = plan_tiles(20, 30, 128)[0]
        checksum = write_tile(tmp_path, tile, numbers(3, (20, 30))[:, ::-1])
        (file,) = tmp_path.iterdir()
        assert zlib.crc32(file.read_bytes()) == checksum

    def test_tiles_not_in_the_ledger_are_missing_even_when_a_file_lies_there(self, tmp_path: Path) -> None:
        values = numbers()
        whole = fill(tmp_path, values)
        spool = Spool(tmp_path, whole.tiles, 2, {index: crc for index, crc in whole.done.items() if index != 4})
        found = spool.window(0, (0, 300), (0, 290))
        assert np.isnan(found[128:256, 128:256]).all()
        assert np.isnan(found).sum() == 128 * 128


class TestDamage:
    """Damage is seen before it gets into a map."""

    def test_changed_cut_and_lost_files_are_found(self, tmp_path: Path) -> None:
        spool = fill(tmp_path, numbers())
        files = sorted(tmp_path.iterdir())
        content = bytearray(files[2].read_bytes())
        content[1000] ^= 1
        files[2].write_bytes(content)
        os.truncate(files[5], files[5].stat().st_size - 4)
        files[7].unlink()
        assert spool.check(list(spool.done)) == [2, 5, 7]

    def test_a_tile_that_is_called_empty_and_has_a_file_is_found(self, tmp_path: Path) -> None:
        spool = fill(tmp_path, numbers())
        assert spool.check(list(spool.done)) == []
        emptied = replace(spool, done={**spool.done, 4: None})
        assert emptied.check(list(spool.done)) == [4]

    @pytest.mark.parametrize("left", [None, 0, 128 * 128 * 4 + 100])
    def test_a_window_over_a_lost_or_cut_tile_is_an_error_that_says_which(
        self, left: int | None, tmp_path: Path
    ) -> None:
        spool = fill(tmp_path, numbers())
        file = sorted(tmp_path.iterdir())[4]
        if left is None:
            file.unlink()
        else:
            os.truncate(file, left)
        with pytest.raises(OutputError, match="tile 4 ") as caught:
            spool.window(1, (100, 200), (100, 200))
        assert caught.value.code == "GS-SPOOL"
        assert "--resume" in caught.value.hint

    def test_a_tile_that_does_not_fit_on_the_disk_leaves_nothing(self, tmp_path: Path) -> None:
        tile = plan_tiles(*SHAPE, 128)[0]
        values = numbers()[:, :128, :128]
        with file_size_limit(values.nbytes - 1), pytest.raises(OSError, match="File too large"):
            write_tile(tmp_path, tile, values)
        assert list(tmp_path.iterdir()) == []

    def test_a_tile_that_does_not_fit_on_the_disk_keeps_the_earlier_one(self, tmp_path: Path) -> None:
        tile = plan_tiles(*SHAPE, 128)[0]
        values = numbers()[:, :128, :128]
        checksum = write_tile(tmp_path, tile, values)
        with file_size_limit(values.nbytes // 2), pytest.raises(OSError, match="File too large"):
            write_tile(tmp_path, tile, values + 1)
        assert Spool(tmp_path, (tile,), 2, {0: checksum}).check([0]) == []
        assert len(list(tmp_path.iterdir())) == 1


class TestLedger:
    """The list of finished tiles."""

    def written(self, path: Path, count: int = 6) -> Ledger:
        ledger = Ledger.create(path, HEADER)
        for tile in plan_tiles(128, 128 * count, 128):
            ledger.add(tile, None if tile.index == 2 else 1000 + tile.index)
        return ledger

    def test_it_comes_back_as_it_was(self, tmp_path: Path) -> None:
        ledger = self.written(tmp_path / "ledger.jsonl")
        again = Ledger.read(tmp_path / "ledger.jsonl")
        assert again is not None
        assert (again.header, again.done, again.failed) == (HEADER, ledger.done, {})
        assert again.done[2] is None

    def test_there_is_none_where_there_is_no_file(self, tmp_path: Path) -> None:
        assert Ledger.read(tmp_path / "ledger.jsonl") is None

    def test_cut_off_at_any_byte_it_holds_the_tiles_noted_whole_before_and_goes_on(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.jsonl"
        done = self.written(path).done
        text = path.read_bytes()
        ends = [place + 1 for place, byte in enumerate(text) if byte == ord("\n")]
        (late,) = plan_tiles(10, 10, 128)
        for length in range(len(text) + 1):
            path.write_bytes(text[:length])
            ledger = Ledger.read(path)
            whole = sum(end <= length for end in ends)
            if whole == 0:
                assert ledger is None
                continue
            assert ledger is not None
            assert ledger.done == {index: done[index] for index in range(whole - 1)}
            ledger.add(Tile(99, late.row, late.column, 10, 10), 5)
            again = Ledger.read(path)
            assert again is not None
            assert again.done == {**ledger.done, 99: 5}

    @pytest.mark.parametrize(
        "line",
        [b'{"tile": 3, "c\n', b"\xff\xfe\n", b"7\n", b"[]\n", b'{"crc": 7}\n', b'{"tile": "x", "crc": 1}\n', b"\0\0\n",
         b'{"crc": 1, "part": "x", "tile": 3}\n', b'{"crc": 1, "seconds": null, "tile": 3}\n',
         b'{"crc": 1, "seconds": 1e999, "tile": 3}\n', b'{"crc": 1, "seconds": 1e300, "tile": 3}\n',
         b'{"crc": 1, "seconds": ' + b"9" * 400 + b', "tile": 3}\n', b"[" * 100_000 + b"\n",
         b'{"crc": 1, "part": -1, "tile": 3}\n'],
    )  # fmt: skip
    def test_a_damaged_line_ends_what_counts(self, line: bytes, tmp_path: Path) -> None:
        path = tmp_path / "ledger.jsonl"
        self.written(path, 2)
        path.write_bytes(path.read_bytes() + line + b'{"tile": 5, "crc": 5}\n')
        ledger = Ledger.read(path)
        assert ledger is not None
        assert ledger.done == {0: 1000, 1: 1001}
        ledger.add(Tile(9, 0, 0, 10, 10), 9)
        again = Ledger.read(path)
        assert again is not None
        assert again.done == {0: 1000, 1: 1001, 9: 9}

    @pytest.mark.parametrize(
        "first",
        [
            b"",
            b"{}\n",
            b"[1]\n",
            b"not json\n",
            b'{"key": "abc"',
            b"3\n",
            b'{"a":' * 100_000 + b"\n",
            b'{"key": "abc", "created": null}\n',
            b'{"key": "abc", "created": "<b>"}\n',
            b'{"key": "abc", "facts": null}\n',
            b'{"key": "abc", "facts": {"tile_size": 0}}\n',
        ],
    )
    def test_a_file_without_a_header_is_no_ledger(self, first: bytes, tmp_path: Path) -> None:
        path = tmp_path / "ledger.jsonl"
        path.write_bytes(first)
        assert Ledger.read(path) is None

    def test_a_tile_that_failed_is_tried_again_by_a_later_run(self, tmp_path: Path) -> None:
        ledger = self.written(tmp_path / "ledger.jsonl")
        ledger.fail(Tile(7, 0, 0, 10, 10), "the disk is gone")
        again = Ledger.read(tmp_path / "ledger.jsonl")
        assert again is not None
        assert 7 not in again.done
        assert ledger.failed == {7: "the disk is gone"}

    def test_each_part_of_a_run_tells_its_tiles_its_time_and_its_workers(self, tmp_path: Path) -> None:
        tiles = plan_tiles(128, 128 * 9, 128)
        ledger = Ledger.create(tmp_path / "ledger.jsonl", HEADER)
        ledger.since -= 100
        for place, tile in enumerate(tiles[:4]):
            ledger.add(tile, 7, f"tcp://host:{place % 3}")
        again = Ledger.read(ledger.path)
        assert again is not None
        again.since -= 5
        del again.done[1]  # its file was damaged
        for tile in (tiles[1], *tiles[4:]):
            again.add(tile, 8)
        last = Ledger.read(ledger.path)
        assert last is not None
        first, second, third = last.parts()
        assert (first["tiles"], first["workers"]) == (3, 2)
        assert 100 <= first["seconds"] < 105
        assert (second["tiles"], "workers" in second) == (6, False)
        assert 5 <= second["seconds"] < 10
        assert (third["tiles"], third["seconds"] < 5) == (0, True)

    def test_many_threads_write_whole_lines(self, tmp_path: Path) -> None:
        ledger = Ledger.create(tmp_path / "ledger.jsonl", HEADER)
        tiles = plan_tiles(128 * 10, 128 * 20, 128)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda tile: ledger.add(tile, 10 * tile.index), tiles))
        lines = [json.loads(line) for line in ledger.path.read_text(encoding="utf-8").splitlines()]
        assert {line["tile"]: line["crc"] for line in lines[1:]} == {tile.index: 10 * tile.index for tile in tiles}
        again = Ledger.read(ledger.path)
        assert again is not None
        assert again.done == ledger.done
