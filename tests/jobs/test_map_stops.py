"""Runs that are killed, stopped or fail: nothing half-written, nothing lost, and the same bytes in the end."""

from __future__ import annotations

import json
import logging
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import geosoil
from geosoil.errors import InputError, InterruptedRunError, OutputError, PartialError
from geosoil.testing import write_raster

from ..conftest import file_size_limit  # noqa: TID252  (tests are no package that is installed)
from .mapping import BANDS, make_model, make_stack

EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}
SHAPE, TILES = (300, 400), 12


class Halt(Exception):  # noqa: N818 - stands for whatever ends a run
    """Ends a run at a known place."""


def halt_at(done: int, message: str = "mapping") -> Callable[[int, int, str], None]:
    """Progress that ends the run at a step."""

    def progress(at: int, total: int, what: str) -> None:
        if (at, what) == (done, message):
            raise Halt

    return progress


def files(folder: Path) -> dict[str, bytes]:
    """All maps of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tif"))}


def ledger_of(folder: Path) -> Path:
    """The ledger of the unfinished run in a folder."""
    (path,) = folder.glob(".geosoil-*/ledger.jsonl")
    return path


def tiles_in(ledger: Path) -> list[dict[str, int]]:
    """What a ledger says of tiles, without a torn last line."""
    lines = ledger.read_bytes().split(b"\n")[1:-1]
    return [json.loads(line) for line in lines]


@pytest.fixture(autouse=True)
def _same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH["SOURCE_DATE_EPOCH"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of twelve tiles, a model, and its maps from an undisturbed run."""
    folder = tmp_path_factory.mktemp("site")
    make_stack(folder / "scene.tif", SHAPE)
    make_model(folder / "soc.gsm", patch=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", EPOCH["SOURCE_DATE_EPOCH"])
        geosoil.map(folder / "soc.gsm", folder / "scene.tif", folder / "whole", tile_size=256)
    return folder


@pytest.fixture
def begun(site: Path, tmp_path: Path) -> Path:
    """A run that ended after five tiles."""
    with pytest.raises(Halt):
        geosoil.map(
            site / "soc.gsm", site / "scene.tif", tmp_path / "maps", tile_size=128, num_workers=1, progress=halt_at(5)
        )
    assert len(tiles_in(ledger_of(tmp_path / "maps"))) == 5
    return tmp_path / "maps"


def go_on(site: Path, folder: Path, **settings: Any) -> list[tuple[int, int, str]]:
    """Resume a run; what it told of its progress."""
    told: list[tuple[int, int, str]] = []
    geosoil.map(
        site / "soc.gsm",
        site / "scene.tif",
        folder,
        resume=True,
        progress=lambda *step: told.append(step),
        **settings,
    )
    return told


class TestResume:
    """A run goes on where it ended, and ends in the same bytes."""

    @pytest.mark.parametrize(
        ("done", "message"), [(0, "mapping"), (1, "mapping"), (TILES, "mapping"), (1, "writing maps")]
    )
    def test_a_run_that_ends_anywhere_goes_on_to_the_bytes_of_an_undisturbed_one(
        self, done: int, message: str, site: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "maps"
        with pytest.raises(Halt):
            geosoil.map(
                site / "soc.gsm", site / "scene.tif", out, tile_size=128, num_workers=2, progress=halt_at(done, message)
            )
        assert not (out / "run.json").exists()
        assert files(out).items() <= files(site / "whole").items()
        kept = len(tiles_in(ledger_of(out))) if out.exists() else 0
        assert kept >= (TILES if message != "mapping" else done)
        told = go_on(site, out, num_workers=1)
        if kept:
            assert told[0] == (kept, TILES, "mapping")
        assert files(out) == files(site / "whole")
        assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []

    def test_a_run_can_be_stopped_again_and_again(self, site: Path, tmp_path: Path) -> None:
        out = tmp_path / "maps"
        for done in (2, 5, 9):
            with pytest.raises(Halt):
                geosoil.map(
                    site / "soc.gsm", site / "scene.tif", out, tile_size=128, resume=True, progress=halt_at(done)
                )
        assert go_on(site, out)[0][0] >= 9
        assert files(out) == files(site / "whole")

    def test_the_record_tells_the_parts_of_a_run_and_all_of_them(self, begun: Path, site: Path) -> None:
        go_on(site, begun)
        record = json.loads((begun / "run.json").read_text(encoding="utf-8"))
        first, second = record["parts"]
        assert (first["tiles"], second["tiles"]) == (5, TILES - 5)
        assert record["seconds"] == second["seconds"] > 0
        assert record["seconds_all"] == pytest.approx(first["seconds"] + second["seconds"], abs=0.002)
        assert "in 2 parts, stops not counted: 5 tiles in " in (begun / "report.html").read_text(encoding="utf-8")

    def test_the_tile_size_of_the_earlier_run_is_taken_and_said(
        self, begun: Path, site: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            go_on(site, begun)
        assert "tiles of 128 cells, as the earlier run has them" in caplog.messages

    def test_maps_carry_the_time_at_which_their_run_began(
        self, begun: Path, site: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
        go_on(site, begun)
        assert files(begun) == files(site / "whole")

    def test_finished_tiles_are_not_made_again(self, begun: Path, site: Path) -> None:
        ledger = ledger_of(begun)
        tile = ledger.with_name("0000001.f32")
        marked = np.full(tile.stat().st_size // 4, 123.5, np.float32).tobytes()
        tile.write_bytes(marked)
        lines = ledger.read_text(encoding="utf-8").splitlines()
        notes = [json.loads(line) for line in lines[1:]]
        notes = [{**note, "crc": zlib.crc32(marked)} if note["tile"] == 1 else note for note in notes]
        ledger.write_text("\n".join([lines[0], *(json.dumps(note) for note in notes), ""]), encoding="utf-8")
        told = go_on(site, begun)
        assert told[0] == (5, TILES, "mapping")
        for name in files(begun):
            with rasterio.open(begun / name) as file, rasterio.open(site / "whole" / name) as other:
                values, wanted = file.read(1), other.read(1)
            wanted[:128, 128:256] = 123.5
            assert np.array_equal(values, wanted, equal_nan=True)

    def test_a_torn_last_line_of_the_ledger_is_dropped(self, begun: Path, site: Path) -> None:
        with ledger_of(begun).open("ab") as file:
            file.write(b'{"tile": 9, "cr')
        assert go_on(site, begun)[0] == (5, TILES, "mapping")
        assert files(begun) == files(site / "whole")

    def test_damaged_and_lost_tiles_are_made_again(
        self, begun: Path, site: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        first, second, third = (ledger_of(begun).with_name(f"000000{index}.f32") for index in (0, 2, 4))
        content = bytearray(first.read_bytes())
        content[77] ^= 64
        first.write_bytes(content)
        os.truncate(second, 1000)
        third.unlink()
        with caplog.at_level(logging.WARNING, "geosoil"):
            assert go_on(site, begun)[0] == (2, TILES, "mapping")
        assert "3 finished tiles were damaged and are made again: 0, 2, 4" in caplog.text
        assert files(begun) == files(site / "whole")

    def test_a_ledger_without_a_header_is_no_run_to_go_on_with(self, begun: Path, site: Path) -> None:
        ledger_of(begun).write_bytes(b'{"key": "abc')
        assert go_on(site, begun, tile_size=128)[0] == (0, TILES, "mapping")
        assert files(begun) == files(site / "whole")

    def test_where_nothing_was_begun_a_run_begins(self, site: Path, tmp_path: Path) -> None:
        go_on(site, tmp_path / "new")
        assert files(tmp_path / "new") == files(site / "whole")

    def test_an_unfinished_run_is_not_dropped_unasked(self, begun: Path, site: Path) -> None:
        with pytest.raises(OutputError, match="unfinished run with 5 tiles") as caught:
            geosoil.map(site / "soc.gsm", site / "scene.tif", begun)
        assert (caught.value.code, caught.value.exit_code) == ("GS-OUTPUT-EXISTS", 4)
        assert len(tiles_in(ledger_of(begun))) == 5
        told: list[int] = []
        geosoil.map(
            site / "soc.gsm", site / "scene.tif", begun, overwrite=True, progress=lambda at, of, what: told.append(at)
        )
        assert told[0] == 0
        assert files(begun) == files(site / "whole")


class TestOtherRun:
    """Only the same run goes on."""

    def refused(self, begun: Path, model: Path, scene: Path, **settings: Any) -> str:
        with pytest.raises(OutputError) as caught:
            geosoil.map(model, scene, begun, resume=True, **settings)
        assert (caught.value.code, caught.value.exit_code) == ("GS-RESUME-KEY", 4)
        assert len(tiles_in(ledger_of(begun))) == 5, "what was done is kept"
        assert files(begun) == {}
        return caught.value.render()

    def test_a_changed_scene_is_refused(self, begun: Path, site: Path, tmp_path: Path) -> None:
        scene = tmp_path / "other" / "scene.tif"
        scene.parent.mkdir()
        shutil.copy(site / "scene.tif", scene)
        with rasterio.open(scene, "r+") as file:
            values = file.read(1)
            values[17, 5] += 1
            file.write(values, 1)
        message = self.refused(begun, site / "soc.gsm", scene)
        assert "\n  inputs: " in message
        assert "models" not in message

    def test_another_model_is_refused(self, begun: Path, site: Path, tmp_path: Path) -> None:
        make_model(tmp_path / "soc.gsm", patch=3, seed=5)
        message = self.refused(begun, tmp_path / "soc.gsm", site / "scene.tif")
        assert "\n  models: " in message
        assert geosoil.load_model(tmp_path / "soc.gsm").sha256 in message
        assert "inputs" not in message

    @pytest.mark.parametrize(
        ("name", "settings"),
        [
            ("nodata", {"nodata": -9999.0}),
            ("outputs", {"statistics": ("mean", "Q0.5")}),
            ("tile_size", {"tile_size": 256}),
            ("options", {"co": {"COMPRESS": "ZSTD"}}),
            ("unseen", {"unseen": "missing"}),
        ],
    )
    def test_other_settings_are_refused(self, name: str, settings: dict[str, Any], begun: Path, site: Path) -> None:
        message = self.refused(begun, site / "soc.gsm", site / "scene.tif", **settings)
        assert f"\n  {name}: " in message
        assert message.count(" then, ") == 1

    def test_another_run_takes_the_place_where_it_may_overwrite(self, begun: Path, site: Path, tmp_path: Path) -> None:
        model = make_model(tmp_path / "soc.gsm", patch=3, seed=5)
        geosoil.map(tmp_path / "soc.gsm", site / "scene.tif", begun, resume=True, overwrite=True)
        with rasterio.open(next(begun.glob("*.tif"))) as file:
            assert file.tags()["model_sha256"] == model.sha256
        assert list(begun.glob(".geosoil*")) == []


class TestSignals:
    """SIGINT and SIGTERM end a run in order."""

    @pytest.mark.parametrize(
        ("number", "code", "exit_code", "at", "message"),
        [
            (signal.SIGINT, "GS-INTERRUPTED", 130, 0, "mapping"),
            (signal.SIGINT, "GS-INTERRUPTED", 130, 4, "mapping"),
            (signal.SIGTERM, "GS-TERMINATED", 143, 4, "mapping"),
            (signal.SIGTERM, "GS-TERMINATED", 143, 0, "writing maps"),
        ],
    )
    def test_a_signal_at_any_step_leaves_a_run_that_goes_on(
        self, number: int, code: str, exit_code: int, at: int, message: str, site: Path, tmp_path: Path
    ) -> None:
        def progress(done: int, total: int, what: str) -> None:
            if (done, what) == (at, message):
                os.kill(os.getpid(), number)

        out = tmp_path / "maps"
        before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
        with pytest.raises(InterruptedRunError) as caught:
            geosoil.map(
                site / "soc.gsm", site / "scene.tif", out, tile_size=128, num_workers=2, progress=progress,
                command="geosoil map soc.gsm scene.tif maps",
            )  # fmt: skip
        assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
        assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
        if at or message != "mapping":
            assert caught.value.hint == "go on with: geosoil map soc.gsm scene.tif maps --resume"
            work = ledger_of(out).parent
            noted = {f"{note['tile']:07d}.f32" for note in tiles_in(work / "ledger.jsonl") if note["crc"] is not None}
            assert {path.name for path in work.iterdir()} == {*noted, "ledger.jsonl"}
        assert files(out) == {}
        assert not (out / ".geosoil.lock").exists()
        go_on(site, out)
        assert files(out) == files(site / "whole")

    def test_a_program_is_told_how_to_go_on_in_its_own_words(self, site: Path, tmp_path: Path) -> None:
        def progress(done: int, total: int, what: str) -> None:
            if done == 2:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(InterruptedRunError) as caught:
            geosoil.map(site / "soc.gsm", site / "scene.tif", tmp_path, tile_size=128, progress=progress)
        assert "resume=True" in caught.value.hint


class TestDisk:
    """A disk that is full, or ends in the middle."""

    def test_no_room_for_the_first_tile_leaves_nothing(self, site: Path, tmp_path: Path) -> None:
        with file_size_limit(100_000), pytest.raises(OutputError) as caught:
            geosoil.map(site / "soc.gsm", site / "scene.tif", tmp_path / "maps", tile_size=128)
        assert (caught.value.code, caught.value.exit_code) == ("GS-NO-SPACE", 4)
        assert list(tmp_path.iterdir()) == []

    def test_no_room_for_a_map_keeps_the_tiles(self, site: Path, tmp_path: Path) -> None:
        out = tmp_path / "maps"
        with file_size_limit(400_000), pytest.raises(OutputError) as caught:
            geosoil.map(site / "soc.gsm", site / "scene.tif", out, tile_size=128)
        assert (caught.value.code, caught.value.exit_code) == ("GS-NO-SPACE", 4)
        assert files(out) == {}
        assert len(tiles_in(ledger_of(out))) == TILES
        assert list(ledger_of(out).parent.glob("*.tif")) == []
        assert go_on(site, out)[0] == (TILES, TILES, "mapping")
        assert files(out) == files(site / "whole")

    def test_a_number_for_no_data_that_is_a_value_is_refused_and_another_taken(
        self, site: Path, tmp_path: Path
    ) -> None:
        with rasterio.open(next((site / "whole").glob("*.tif"))) as file:
            value = float(np.nanmax(file.read(1)))
        with pytest.raises(OutputError) as caught:
            geosoil.map(site / "soc.gsm", site / "scene.tif", tmp_path, nodata=value)
        assert (caught.value.code, caught.value.exit_code) == ("GS-NODATA-VALUE", 4)
        assert len(files(tmp_path)) < 2
        assert "--overwrite" in caught.value.hint
        geosoil.map(site / "soc.gsm", site / "scene.tif", tmp_path, nodata=-9999, overwrite=True)
        assert len(files(tmp_path)) == 2


class TestScene:
    """A scene that cannot be read where it should."""

    @pytest.fixture
    def torn(self, site: Path, tmp_path: Path) -> Path:
        """The scene with one compressed block of 128 x 128 cells, in the middle of the second row, overwritten."""
        with rasterio.open(site / "scene.tif") as file:
            values, profile = file.read(), file.profile
        path = write_raster(
            tmp_path / "scene.tif", values, names=BANDS, transform=profile["transform"], nodata=np.nan,
            tiled=True, blockxsize=128, blockysize=128, compress="deflate", interleave="pixel",
        )  # fmt: skip
        with rasterio.open(path) as file:
            offset, size = (int(file.get_tag_item(f"BLOCK_{what}_1_1", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
        with path.open("r+b") as raw:
            raw.seek(offset)
            raw.write(b"\xff" * size)
        return path

    def test_a_block_that_cannot_be_read_is_one_error_and_no_map(self, torn: Path, site: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"scene\.tif") as caught:
            geosoil.map(site / "soc.gsm", torn, tmp_path / "maps", tile_size=128)
        assert (caught.value.code, caught.value.exit_code) == ("GS-RASTER-READ", 3)
        assert files(tmp_path / "maps") == {}

    def test_the_other_tiles_are_made_where_that_is_asked_for(self, torn: Path, site: Path, tmp_path: Path) -> None:
        out = tmp_path / "maps"
        with pytest.raises(PartialError) as caught:
            geosoil.map(site / "soc.gsm", torn, out, tile_size=128, keep_going=True)
        assert (caught.value.code, caught.value.exit_code) == ("GS-TILES-MISSING", 7)
        record = json.loads((out / "run.json").read_text(encoding="utf-8"))
        # The halo of the tiles round it reaches into the block.
        lost = [int(index) for index in record["tiles"]["failed"]]
        assert sorted(lost) == [0, 1, 2, 4, 5, 6, 8, 9, 10]
        assert f"{len(lost)} of {TILES} tiles" in caught.value.message
        assert any("tile 5: " in line for line in caught.value.details)
        for name in files(site / "whole"):
            with rasterio.open(out / name) as file, rasterio.open(site / "whole" / name) as other:
                values, wanted = file.read(1), other.read(1)
            wanted[:, :384] = np.nan
            assert np.array_equal(values, wanted, equal_nan=True)

    def test_the_command_lists_the_tiles_that_are_missing(
        self, torn: Path, site: Path, tmp_path: Path, typed: Callable[..., Any]
    ) -> None:
        ran = typed("map", site / "soc.gsm", torn, "maps", "--tile-size", 256, "--keep-going", "--json", "-q")
        assert (ran.code, ran.out) == (7, "")
        assert ran.err.startswith(
            "error: 4 of 4 tiles could not be made; they are empty in the maps [GS-TILES-MISSING]"
        )
        assert ran.err.count("scene.tif") == 4
        assert "Traceback" not in ran.err
        assert len(files(tmp_path / "maps")) == 2

    def test_a_scene_that_ends_early_is_one_error_and_nothing_is_written(self, site: Path, tmp_path: Path) -> None:
        scene = tmp_path / "scene.tif"
        shutil.copy(site / "scene.tif", scene)
        os.truncate(scene, scene.stat().st_size * 2 // 3)
        with pytest.raises(InputError, match=r"scene\.tif") as caught:
            geosoil.map(site / "soc.gsm", scene, tmp_path / "maps", tile_size=128)
        assert caught.value.exit_code == 3
        assert files(tmp_path / "maps") == {}


class Started:
    """A `geosoil map` in a process of its own."""

    def __init__(self, site: Path, out: Path, *more: str, model: str = "slow.gsm", limit: int | None = None) -> None:
        self.out = out
        self.args = ["map", model, "scene.tif", str(out), "--tile-size", "128", "-j", "1", *more]
        self.process = subprocess.Popen(
            [str(Path(sys.executable).with_name("geosoil")), *self.args],
            cwd=site,
            env={**os.environ, **EPOCH},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )

    def freeze(self, count: int) -> None:
        """Halt it in the middle, when so many tiles are in the ledger."""
        end = time.monotonic() + 50
        while time.monotonic() < end:
            assert self.process.poll() is None, self.process.communicate()[1]
            ledgers = list(self.out.glob(".geosoil-*/ledger.jsonl"))
            found = len(tiles_in(ledgers[0])) if ledgers else 0
            if found >= count:
                self.process.send_signal(signal.SIGSTOP)
                return
            time.sleep(0.02)
        raise AssertionError(f"no {count} tiles in time")

    def end(self, number: int | None = None) -> tuple[int, str, str]:
        """Send a signal to a frozen process, and wait for what it leaves."""
        if number is not None:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)
        out, err = self.process.communicate(timeout=50)
        return self.process.returncode, out, err


@pytest.fixture(scope="module")
def slow(site: Path) -> dict[str, bytes]:
    """Maps of a model that keeps a process busy for a while."""
    make_model(site / "slow.gsm", patch=15)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", EPOCH["SOURCE_DATE_EPOCH"])
        geosoil.map(site / "slow.gsm", site / "scene.tif", site / "slow", tile_size=256)
    return files(site / "slow")


class TestCommand:
    """The installed command, as a process."""

    def test_a_killed_run_goes_on_to_the_bytes_of_an_undisturbed_one(
        self, site: Path, slow: dict[str, bytes], tmp_path: Path
    ) -> None:
        run = Started(site, tmp_path / "maps")
        run.freeze(3)
        code, _, _ = run.end(signal.SIGKILL)
        assert code == -signal.SIGKILL
        assert files(run.out) == {}
        kept = len(tiles_in(ledger_of(run.out)))
        assert 3 <= kept < TILES
        code, out, err = Started(site, run.out, "--resume", "--json").end()
        assert code == 0, err
        assert f"mapping: {10 * (10 * kept // TILES)} %" in err.splitlines()[0]
        assert json.loads(out)["record"]["tiles"] == {"made": TILES, "failed": {}}
        assert files(run.out) == slow

    def test_a_terminated_run_frees_its_folder_and_says_how_to_go_on(
        self, site: Path, slow: dict[str, bytes], tmp_path: Path
    ) -> None:
        run = Started(site, tmp_path / "neue karten")
        run.freeze(2)
        with pytest.raises(OutputError) as caught:
            geosoil.map(site / "slow.gsm", site / "scene.tif", run.out, tile_size=128, resume=True)
        assert (caught.value.code, caught.value.exit_code) == ("GS-LOCKED", 4)
        asked = time.monotonic()
        code, out, err = run.end(signal.SIGTERM)
        assert time.monotonic() - asked < 10
        assert (code, out) == (143, "")
        assert "Traceback" not in err
        assert "terminated; finished tiles are kept [GS-TERMINATED]" in err
        assert files(run.out) == {}
        assert [path.name for path in run.out.iterdir()] == [ledger_of(run.out).parent.name]
        (line,) = (line for line in err.splitlines() if "go on with: " in line)
        typed = shlex.split(line.partition("go on with: ")[2])
        assert typed == ["geosoil", *run.args, "--resume"]
        geosoil.map(site / "slow.gsm", site / "scene.tif", run.out, resume=True)
        assert files(run.out) == slow

    def test_an_interrupted_run_says_how_to_go_on(self, site: Path, slow: dict[str, bytes], tmp_path: Path) -> None:
        run = Started(site, tmp_path / "maps", "-q")
        run.freeze(2)
        code, out, err = run.end(signal.SIGINT)
        assert (code, out) == (130, "")
        assert err.splitlines()[0] == "error: interrupted; finished tiles are kept [GS-INTERRUPTED]"
        assert err.rstrip().endswith(shlex.join(["geosoil", *run.args, "--resume"]))
        assert files(run.out) == {}

    def test_a_signal_before_the_first_tile_is_one_message_and_leaves_nothing(self, site: Path, tmp_path: Path) -> None:
        log = tmp_path / "run.log"
        run = Started(site, tmp_path / "maps", "-q", "--log-file", str(log))
        while not log.exists():  # the command is at work, and its job listens to no signal yet
            assert run.process.poll() is None, run.process.communicate()[1]
            time.sleep(0.005)
        run.process.send_signal(signal.SIGSTOP)
        code, out, err = run.end(signal.SIGTERM)
        assert (code, out) == (143, "")
        assert "terminated" in err.splitlines()[0]
        assert not run.out.exists()

    def test_a_signal_to_a_process_and_its_group_ends_it_in_order(
        self, site: Path, slow: dict[str, bytes], tmp_path: Path
    ) -> None:
        run = Started(site, tmp_path / "maps", "-q")
        run.freeze(2)
        run.process.send_signal(signal.SIGCONT)
        run.process.send_signal(signal.SIGTERM)
        time.sleep(0.02)  # long enough for the first to be heard
        code, out, err = run.end(signal.SIGTERM)
        assert (code, out) == (143, "")
        assert err.splitlines()[0] == "error: terminated; finished tiles are kept [GS-TERMINATED]"
        assert [path.name for path in run.out.iterdir()] == [ledger_of(run.out).parent.name]

    def test_a_disk_that_fills_up_is_one_error_and_no_map(self, site: Path, tmp_path: Path) -> None:
        code, out, err = Started(site, tmp_path / "maps", "-q", model="soc.gsm", limit=400_000).end()
        assert (code, out) == (4, "")
        (line,) = (line for line in err.splitlines() if line.startswith("error: "))
        assert "[GS-NO-SPACE]" in line
        assert "Traceback" not in err
        assert files(tmp_path / "maps") == {}
