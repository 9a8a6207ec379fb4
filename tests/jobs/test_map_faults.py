"""Every fault of a map run that `docs/faults.md` lists, one after the other, and the bytes that come out in the end."""

from __future__ import annotations

import ctypes
import errno
import io
import json
import os
import re
import shutil
import signal
import stat
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import geosoil
from geosoil.errors import GeosoilError, InputError, OutputError
from geosoil.grid.spool import Ledger
from geosoil.io.atomic import sync_folder
from geosoil.jobs.map import plan
from geosoil.jobs.maprun import MapRun
from geosoil.jobs.matching import Masks, Reading, prepare
from geosoil.stops import Stop
from geosoil.testing import write_raster
from geosoil.types import Progress, quiet

from .mapping import BANDS, make_model, make_stack

EPOCH = "1700000000"
#: Three tiles in a row.
SHAPE, TILES = (40, 300), 3
#: Soon written, and no file beside it while it is.
OPTIONS = {"BLOCKSIZE": "128", "OVERVIEWS": "NONE"}
#: Of Linux: a mount namespace, a user namespace, and all mounts of it kept from others.
NEW_MOUNTS, NEW_USERS, PRIVATE = 0x20000, 0x10000000, 0x44000


@pytest.fixture(autouse=True)
def _same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)


def files(folder: Path) -> dict[str, bytes]:
    """All maps of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tif"))}


def hidden(folder: Path) -> list[str]:
    """What no finished run leaves."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def ledger_of(folder: Path) -> Path:
    """The ledger of the unfinished run in a folder."""
    (path,) = folder.glob(".geosoil-*/ledger.jsonl")
    return path


@dataclass(frozen=True)
class Site:
    """A scene, a model, and the maps of an undisturbed run."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "soc.gsm"

    @property
    def scene(self) -> Path:
        return self.folder / "scene.tif"

    @property
    def whole(self) -> dict[str, bytes]:
        return files(self.folder / "whole")

    @cached_property
    def first(self) -> MapRun:
        return self.prepared(self.folder / "whole", str(self.scene))

    def run(self, out: Path) -> MapRun:
        """A run into a folder, ready to begin."""
        return replace(self.first, folder=out)

    def prepared(self, out: Path, scene: str) -> MapRun:
        """The same with another scene."""
        task, stack = prepare(
            self.model, scene, ("mean",), "error", Reading(None, None, None, None, None), Masks("auto", None)
        )
        made = plan(self.model, scene, tile_size=128, num_workers=1)
        return MapRun(out, made, task, stack, float("nan"), OPTIONS)


def go(run: MapRun, progress: Progress = quiet, *, keep_going: bool = False) -> None:
    """What `geosoil.map` does up to the finished maps, without the pages for people, which take most of a second."""
    with run.locked():
        ledger = run.begin(resume=True, overwrite=False)
        run.sweep(ledger, Stop(), None, keep_going=keep_going, progress=progress)
        run.check_inputs()
        run.finish(ledger, Stop(), progress)
        run.clean()


def check_left(site: Site, out: Path) -> None:
    """Whatever ended a run: final names are absent or perfect, and tiles in the ledger are whole."""
    assert files(out).items() <= site.whole.items()
    for path in out.glob(".geosoil-*/ledger.jsonl"):
        ledger = Ledger.read(path)
        for index in ledger.done if ledger else ():
            assert path.with_name(f"{index:07d}.f32").stat().st_size == 4 * 2 * SHAPE[0] * min(
                128, SHAPE[1] - 128 * index
            )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A scene of three tiles, a forest, and its maps."""
    found = Site(tmp_path_factory.mktemp("site"))
    make_stack(found.scene, SHAPE, missing=0.02)
    make_model(found.model, kind="rf", patch=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", EPOCH)
        go(found.first)
    return found


@pytest.fixture
def run(site: Site, tmp_path: Path) -> MapRun:
    return site.run(tmp_path / "maps")


@contextmanager
def child(work: Callable[[], str]) -> Iterator[Callable[[], tuple[int, str]]]:
    """A forked process at `work`, and a function that waits for its exit status and what it told."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            told = work()
        except BaseException as error:
            told = f"{type(error).__name__} {getattr(error, 'code', error)}"
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    ended: list[tuple[int, str]] = []

    def end() -> tuple[int, str]:
        if not ended:
            with os.fdopen(reading, encoding="utf-8") as pipe:
                told = pipe.read()
            ended.append((os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), told))
        return ended[0]

    try:
        yield end
    finally:
        if not ended:
            os.kill(pid, signal.SIGKILL)
            end()


def kill_after(tiles: int) -> Progress:
    """Progress that ends the process, as the system does it, when so many tiles are in the ledger."""

    def progress(done: int, total: int, what: str) -> None:
        if (done, what) == (tiles, "mapping"):
            os.kill(os.getpid(), signal.SIGKILL)

    return progress


def at_step(step: Callable[[str], None]) -> pytest.MonkeyPatch:
    """Have `step` called before each fsync and rename, with its name; undone by the caller."""
    patch = pytest.MonkeyPatch()
    fsync, replace = os.fsync, os.replace

    def fsync_after(handle: int) -> None:
        step("fsync of a folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "fsync")
        fsync(handle)

    def replace_after(source: Any, target: Any) -> None:
        step("rename")
        replace(source, target)

    patch.setattr(os, "fsync", fsync_after)
    patch.setattr(os, "replace", replace_after)
    return patch


class TestKilled:
    """kill -9, which no program can catch."""

    @pytest.mark.parametrize("tiles", range(TILES + 1))
    def test_a_run_that_is_killed_after_any_tile_goes_on_to_the_same_bytes(
        self, tiles: int, run: MapRun, site: Site
    ) -> None:
        def work() -> str:
            go(run, kill_after(tiles))
            return "not killed"

        with child(work) as end:
            assert end() == (-signal.SIGKILL, "")
        assert files(run.folder) == {}
        ledger = Ledger.read(ledger_of(run.folder))
        assert ledger is not None
        assert len(ledger.done) == tiles
        told: list[int] = []
        go(run, lambda done, total, what: told.append(done))
        assert told[0] == tiles
        assert files(run.folder) == site.whole
        assert hidden(run.folder) == []

    def test_a_run_that_is_killed_before_every_fsync_and_rename_in_turn_comes_to_its_end(
        self, run: MapRun, site: Site
    ) -> None:
        def work(left: int) -> str:
            def step(name: str) -> None:
                nonlocal left
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)

            at_step(step)
            go(run)
            return "ended"

        told, kills = "", 0
        while not told:
            # Each goes on where the one before was killed, and comes one step further.
            with child(partial(work, kills + 1)) as end:
                code, told = end()
            check_left(site, run.folder)
            kills += not told
            assert code == (0 if told else -signal.SIGKILL)
        assert told == "ended"
        assert kills > TILES
        assert files(run.folder) == site.whole
        assert hidden(run.folder) == []


class _Broken(io.FileIO):
    """A file on a disk that takes half of the n-th write, and nothing afterwards."""

    left = 0
    broken = False

    def write(self, data: Any) -> int:
        if not self.broken:
            _Broken.left -= 1
            if _Broken.left:
                return super().write(data)
            super().write(memoryview(data)[: len(data) // 2])
            self.broken = True
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def break_write(number: int) -> pytest.MonkeyPatch:
    """Let the n-th write of Python's own files fail; undone by the caller."""
    patch = pytest.MonkeyPatch()
    usual = io.open

    def opened(file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if "b" not in mode or not set(mode) & set("wa+"):
            return usual(file, mode, *rest, **more)
        raw = _Broken(file, mode.replace("b", ""))
        return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)

    _Broken.left = number
    patch.setattr(io, "open", opened)
    return patch


def break_step(kind: str, number: int) -> pytest.MonkeyPatch:
    """Let the n-th fsync or rename fail; undone by the caller."""
    left = number

    def step(name: str) -> None:
        nonlocal left
        left -= name == kind
        if name == kind and not left:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    return at_step(step)


class TestFailing:
    """A disk that refuses one operation."""

    @pytest.mark.parametrize(
        ("kind", "code"),
        [
            ("write", "GS-NO-SPACE"),
            ("fsync", "GS-NOT-WRITABLE"),
            ("fsync of a folder", "GS-NOT-WRITABLE"),
            ("rename", "GS-NOT-WRITABLE"),
        ],
    )
    def test_each_operation_that_fails_is_one_error_and_the_run_goes_on_to_the_same_bytes(
        self, kind: str, code: str, site: Site, tmp_path: Path
    ) -> None:
        for number in range(1, 50):
            run = site.run(tmp_path / str(number))
            patch = break_write(number) if kind == "write" else break_step(kind, number)
            try:
                go(run)
            except GeosoilError as error:
                found = error
            else:
                break
            finally:
                patch.undo()
            assert (type(found), found.code) == (OutputError, code)
            check_left(site, run.folder)
            assert [path.name for path in run.folder.glob("*") if path.name not in site.whole] == hidden(run.folder)
            assert list(run.work.glob("*.tif")) + list(run.work.glob(".*")) == [], "no part is left"
            go(run)
            assert files(run.folder) == site.whole
            assert hidden(run.folder) == []
        assert files(run.folder) == site.whole
        # A tile: its file and its line; beside them the ledger's first line, and the folder once in the end.
        wanted = {"write": 2 * TILES + 1, "fsync": 2 * TILES + 1 + 2, "rename": TILES + 2, "fsync of a folder": 3}
        assert number - 1 == wanted[kind]

    def test_a_system_that_cannot_sync_folders_is_no_error(self, tmp_path: Path) -> None:
        patch = pytest.MonkeyPatch()

        def refuse(handle: int) -> None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

        with patch.context() as one:
            one.setattr(os, "fsync", refuse)
            sync_folder(tmp_path)

    def test_a_page_that_cannot_be_written_keeps_the_run(self, site: Site, tmp_path: Path) -> None:
        out, usual = tmp_path / "maps", os.replace

        def replace(source: Any, target: Any) -> None:
            if Path(target).name == "maps.qgz":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            usual(source, target)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "replace", replace)
            with pytest.raises(OutputError) as caught:
                geosoil.map(site.model, site.scene, out, tile_size=128, co=OPTIONS)
        assert (caught.value.code, caught.value.exit_code) == ("GS-NO-SPACE", 4)
        assert not (out / "run.json").exists()
        assert not (out / "maps.qgz").exists()
        made = geosoil.map(site.model, site.scene, out, resume=True, co=OPTIONS)
        assert made.record["tiles"]["made"] == TILES
        assert files(out) == site.whole
        assert hidden(out) == []
        assert made.project is not None
        assert made.project.exists()


def own_disk(folder: Path, size: int) -> bool:
    """In a forked process: mount an empty disk of a size, which nobody else sees; whether the system allows that."""
    libc = ctypes.CDLL(None, use_errno=True)
    user = os.getuid()
    if libc.unshare(NEW_MOUNTS):
        if libc.unshare(NEW_MOUNTS | NEW_USERS):
            return False
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
    options = f"size={size}".encode()
    private = libc.mount(b"none", b"/", None, PRIVATE, None)
    return not private and not libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options)


def disks_can_be_made() -> bool:
    """Whether the system lets this user mount a disk of their own; some do not."""
    with tempfile.TemporaryDirectory() as folder, child(lambda: str(own_disk(Path(folder), 2**20))) as end:
        return end()[1] == "True"


def free(folder: Path) -> int:
    """Bytes that a disk has left."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def drop_rights() -> None:
    """In a forked process: give up what lets root write where its owner may not."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    assert not libc.capset(header, (ctypes.c_uint32 * 6)())


class TestFull:
    """A disk that others fill while a run is at work."""

    SHORTFALLS = (4096, 8192, 32_768, 65_536, 262_144, 2**20)

    def attempt(self, run: MapRun, room: int) -> str:
        """Run with so much room; how it ended."""
        ballast = run.folder.parent / "ballast"

        def progress(done: int, total: int, what: str) -> None:
            if (done, what) == (0, "mapping"):
                ballast.write_bytes(b"\xff" * (free(run.folder) - room))

        try:
            go(run, progress)
        except GeosoilError as error:
            return error.code
        finally:
            ballast.unlink()
        return "whole"

    def need(self, run: MapRun) -> int:
        """What a run takes from its first tile on, at the moment when it takes most."""
        found: list[int] = []

        def progress(done: int, total: int, what: str) -> None:
            if (done, what) == (0, "mapping"):
                found.append(free(run.folder))

        patch = at_step(lambda name: found.append(free(run.folder)) if found else None)
        go(run, progress)
        patch.undo()
        shutil.rmtree(run.folder)
        return found[0] - min(found)

    def compare(self, site: Site, disk: Path) -> str:
        """In the process with the small disk: how much a run takes, and what comes of too little."""
        assert own_disk(disk, 40 * 2**20)
        need = self.need(site.run(disk / "measured"))
        codes = {}
        for shortfall in (*self.SHORTFALLS, 0):
            run = site.run(disk / str(shortfall))
            codes[shortfall] = self.attempt(run, need - shortfall)
            check_left(site, run.folder)
            if codes[shortfall] != "whole":
                go(run)
            assert files(run.folder) == site.whole
            assert hidden(run.folder) == []
            shutil.rmtree(run.folder)
        return json.dumps({"need": need, "codes": codes})

    if disks_can_be_made():

        def test_a_disk_with_4_kib_too_few_or_more_is_seen_and_one_with_just_enough_suffices(
            self, site: Site, tmp_path: Path
        ) -> None:
            with child(lambda: self.compare(site, tmp_path)) as end:
                code, told = end()
            assert code == 0
            found = json.loads(told)
            assert found["need"] > 2**20
            assert found["codes"].pop("0") == "whole"
            assert len(found["codes"]) == len(self.SHORTFALLS)
            # What GDAL does not report when it closes a file is seen when the file is read back.
            assert set(found["codes"].values()) == {"GS-NO-SPACE", "GS-NOT-VERIFIED"}


class TestReadOnly:
    """Folders that may not be written to."""

    def refused(self, work: Callable[[], None]) -> str:
        def told() -> str:
            drop_rights()
            work()
            return "written"

        with child(told) as end:
            return end()[1]

    @pytest.mark.parametrize("name", ["maps", "maps/new"])
    def test_a_read_only_folder_is_one_error_before_any_tile(self, name: str, site: Site, tmp_path: Path) -> None:
        locked = tmp_path / "maps"
        locked.mkdir(mode=0o555)
        run = site.run(tmp_path / name)
        assert self.refused(lambda: go(run)) == "OutputError GS-NOT-WRITABLE"
        assert list(locked.iterdir()) == []

    @pytest.mark.parametrize("which", ["folder", "work"])
    def test_a_folder_that_becomes_read_only_in_the_middle_keeps_the_tiles(
        self, which: str, run: MapRun, site: Site
    ) -> None:
        def progress(done: int, total: int, what: str) -> None:
            if (done, what) == (2, "mapping"):
                getattr(run, which).chmod(0o555)

        try:
            assert self.refused(lambda: go(run, progress)) == "OutputError GS-NOT-WRITABLE"
        finally:
            getattr(run, which).chmod(0o700)
        assert files(run.folder) == {}
        told: list[int] = []
        go(run, lambda done, total, what: told.append(done))
        assert told[0] == (2 if which == "work" else TILES)
        assert files(run.folder) == site.whole
        assert hidden(run.folder) == []


class TestLedger:
    """A ledger or finished tiles that are not what they were."""

    @pytest.fixture
    def begun(self, run: MapRun) -> MapRun:
        """A run that ended after its last tile."""

        def progress(done: int, total: int, what: str) -> None:
            if what == "writing maps":
                raise KeyError(what)

        with pytest.raises(KeyError):
            go(run, progress)
        return run

    def resumed(self, run: MapRun, site: Site) -> int:
        """Go on; with how many finished tiles."""
        told: list[int] = []
        go(run, lambda done, total, what: told.append(done))
        assert files(run.folder) == site.whole
        assert hidden(run.folder) == []
        return told[0]

    @pytest.mark.parametrize(
        ("spoil", "kept"),
        [
            (lambda lines: [*lines[:-2], lines[-2][:7]], TILES - 1),
            (lambda lines: [*lines[:2], lines[2][:7], *lines[3:]], 1),
            (lambda lines: [*lines[:2], lines[2][:9] + lines[3][4:], *lines[4:]], 1),
            (lambda lines: [*lines[:2], bytes(len(lines[2])), *lines[3:]], 1),
            (lambda lines: [*lines[:2], b'{"crc": 5, "tile": 77}', *lines[3:]], TILES - 1),
            (lambda lines: [*lines[:2], b'{"crc": 5, "tile": -1}', *lines[3:]], TILES - 1),
            (lambda lines: [*lines[:3], *lines[2:]], TILES),
            (lambda lines: [lines[0][:40], *lines[1:]], 0),
            (lambda lines: [lines[0].replace(b'"created"', b'"crxated"'), *lines[1:]], 0),
            (lambda lines: [lines[0].replace(b'"facts"', b'"fxcts"'), *lines[1:]], TILES),
        ],
        ids=[
            "last line torn", "line torn in the middle", "lines run together", "zeros in the middle",
            "number that no tile has", "number below zero", "line twice", "first line torn", "no time", "no facts",
        ],
    )  # fmt: skip
    def test_a_damaged_ledger_costs_the_tiles_that_it_no_longer_tells_of(
        self, spoil: Callable[[list[bytes]], list[bytes]], kept: int, begun: MapRun, site: Site
    ) -> None:
        path = ledger_of(begun.folder)
        path.write_bytes(b"\n".join(spoil(path.read_bytes().split(b"\n"))))
        assert self.resumed(begun, site) == kept

    def test_tiles_that_are_changed_cut_longer_or_lost_are_made_again(self, begun: MapRun, site: Site) -> None:
        paths = [begun.work / f"{index:07d}.f32" for index in range(TILES)]
        changed = bytearray(paths[0].read_bytes())
        changed[100] ^= 1
        paths[0].write_bytes(changed)
        os.truncate(paths[1], 4096)
        with paths[2].open("ab") as file:
            file.write(b"more")
        assert self.resumed(begun, site) == 0

    @pytest.mark.parametrize("spoil", [os.unlink, partial(os.truncate, length=4096)], ids=["lost", "cut"])
    def test_a_tile_that_is_lost_while_maps_are_written_is_one_error_and_is_made_again(
        self, spoil: Callable[[Path], None], run: MapRun, site: Site
    ) -> None:
        def progress(done: int, total: int, what: str) -> None:
            if (done, what) == (1, "writing maps"):
                spoil(run.work / "0000001.f32")

        with pytest.raises(OutputError) as caught:
            go(run, progress)
        assert (caught.value.code, caught.value.exit_code) == ("GS-SPOOL", 4)
        assert len(files(run.folder)) == 1
        assert files(run.folder).items() <= site.whole.items()
        assert self.resumed(run, site) == TILES - 1


class TestInputs:
    """Inputs that change, vanish, or cannot be read."""

    @pytest.fixture
    def scene(self, site: Site, tmp_path: Path) -> Path:
        return Path(shutil.copy2(site.scene, tmp_path / "scene.tif"))

    def change(self, scene: Path) -> None:
        with rasterio.open(scene, "r+") as file:
            file.write(file.read(1) + 1, 1)

    def begin(self, run: MapRun) -> None:
        def progress(done: int, total: int, what: str) -> None:
            if done == 2:
                raise KeyError(what)

        with pytest.raises(KeyError):
            go(run, progress)

    def test_an_input_that_changed_before_a_run_goes_on_is_refused_and_nothing_is_lost(
        self, scene: Path, site: Site, tmp_path: Path
    ) -> None:
        self.begin(site.prepared(tmp_path / "maps", str(scene)))
        self.change(scene)
        with pytest.raises(OutputError) as caught:
            go(site.prepared(tmp_path / "maps", str(scene)))
        assert (caught.value.code, caught.value.exit_code) == ("GS-RESUME-KEY", 4)
        assert any(line.startswith("inputs: ") for line in caught.value.details)
        assert files(tmp_path / "maps") == {}
        shutil.copy2(site.scene, scene)
        go(site.prepared(tmp_path / "maps", str(scene)))
        assert files(tmp_path / "maps") == site.whole

    def test_an_input_that_vanished_before_a_run_goes_on_is_named(
        self, scene: Path, site: Site, tmp_path: Path
    ) -> None:
        self.begin(site.prepared(tmp_path / "maps", str(scene)))
        scene.unlink()
        with pytest.raises(InputError, match=r"scene\.tif") as caught:
            geosoil.map(site.model, scene, tmp_path / "maps", resume=True)
        assert (caught.value.code, caught.value.exit_code) == ("GS-FILE-MISSING", 3)
        assert Ledger.read(ledger_of(tmp_path / "maps")) is not None

    @pytest.mark.parametrize("how", ["changed", "replaced", "vanished"])
    def test_an_input_that_changes_during_a_run_gives_no_map_of_both_states(
        self, how: str, scene: Path, site: Site, tmp_path: Path
    ) -> None:
        def progress(done: int, total: int, what: str) -> None:
            if (done, what) != (1, "mapping"):
                return
            if how == "changed":
                self.change(scene)
            elif how == "replaced":
                self.change(Path(shutil.copy2(scene, tmp_path / "next.tif")))
                (tmp_path / "next.tif").replace(scene)
            else:
                scene.unlink()

        with pytest.raises(InputError, match=r"scene\.tif") as caught:
            geosoil.map(site.model, scene, tmp_path / "maps", tile_size=128, num_workers=1, progress=progress)
        assert (caught.value.code, caught.value.exit_code) == ("GS-INPUT-CHANGED", 3)
        assert not (tmp_path / "maps").exists(), "no tile that may be of either state is kept"

    def torn(self, site: Site, scene: Path, compress: str) -> Path:
        """The scene with its second block overwritten."""
        with rasterio.open(site.scene) as file:
            values, transform = file.read(), file.transform
        write_raster(
            scene, values, names=BANDS, transform=transform, nodata=np.nan, tiled=True, blockxsize=128,
            blockysize=128, compress=compress, interleave="pixel",
        )  # fmt: skip
        whole = scene.with_name("whole.tif")
        shutil.copy2(scene, whole)
        with rasterio.open(scene) as file:
            offset, size = (int(file.get_tag_item(f"BLOCK_{what}_1_0", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
        with scene.open("r+b") as raw:
            raw.seek(offset)
            raw.write(b"\xff" * size)
        return whole

    @pytest.mark.parametrize("compress", ["deflate", "zstd", "lzw"])
    def test_a_block_that_cannot_be_read_ends_the_run_or_is_left_empty_as_asked(
        self, compress: str, scene: Path, site: Site, tmp_path: Path
    ) -> None:
        whole = self.torn(site, scene, compress)
        with pytest.raises(InputError) as caught:
            go(site.prepared(tmp_path / "strict", str(scene)))
        assert (caught.value.code, caught.value.exit_code) == ("GS-RASTER-READ", 3)
        assert files(tmp_path / "strict") == {}
        go(site.prepared(tmp_path / "maps", str(scene)), keep_going=True)
        for name in site.whole:
            with rasterio.open(tmp_path / "maps" / name) as file, rasterio.open(site.folder / "whole" / name) as other:
                values, wanted = file.read(1), other.read(1)
            wanted[:, 128:256] = np.nan
            np.testing.assert_array_equal(values, wanted)
        # The scene is mended: what went wrong is not taken for finished.
        whole.replace(scene)
        with pytest.raises(OutputError) as again:
            go(site.prepared(tmp_path / "maps", str(scene)))
        assert (again.value.code, again.value.hint.count("--overwrite")) == ("GS-OUTPUT-EXISTS", 1)


class _Faulty(BaseHTTPRequestHandler):
    """Serves one file by byte ranges, until it is told to fail in some way."""

    content = b""
    fault = ""
    asked = 0

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.path.startswith("/fault/"):
            type(self).fault = self.path.removeprefix("/fault/")
            self.send_response(204)
            self.end_headers()
            return
        type(self).asked += bool(self.fault)
        if self.fault.isdigit():
            self.send_error(int(self.fault))
        elif self.fault == "stall":
            STALLED.wait(20)
        else:
            self.send_part()

    def send_part(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        last = min(int(asked[2]) if asked and asked[2] else 2**60, len(self.content) - 1)
        part = self.content[first : last + 1]
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(self.content)}")
        self.end_headers()
        if self.command == "GET":
            with suppress(OSError):
                self.wfile.write(part[: len(part) // 2] if self.fault == "cut" else part)

    def log_message(self, format: str, *args: Any) -> None:
        pass


#: Ends what stalls.
STALLED = threading.Event()


class TestNetwork:
    """A scene on a server that fails."""

    @pytest.fixture
    def server(self, site: Site) -> Iterator[tuple[str, type[_Faulty]]]:
        """Its address, and what it does."""
        handler = type("Handler", (_Faulty,), {"content": site.scene.read_bytes()})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        STALLED.clear()
        try:
            yield f"http://127.0.0.1:{server.server_port}", handler
        finally:
            STALLED.set()
            server.shutdown()
            server.server_close()
            thread.join()

    @pytest.fixture(autouse=True)
    def _impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {"TIMEOUT": "0.4", "MAX_RETRY": "1", "RETRY_DELAY": "0.05"}.items():
            monkeypatch.setenv(f"GDAL_HTTP_{name}", value)
        # Small pieces, that a tile is not read ahead of its time.
        monkeypatch.setenv("CPL_VSIL_CURL_CHUNK_SIZE", "1024")

    @pytest.mark.parametrize("fault", ["404", "500", "cut", "stall"])
    def test_a_server_that_fails_at_once_is_one_error_and_nothing_is_written(
        self, fault: str, server: tuple[str, type[_Faulty]], site: Site, tmp_path: Path
    ) -> None:
        host, handler = server
        handler.fault = fault

        def work() -> str:
            site.prepared(tmp_path / "maps", f"{host}/scene.tif?key=secret")
            return "opened"

        with child(work) as end:
            assert end() == (0, "InputError GS-RASTER-UNREADABLE")
        assert handler.asked
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("fault", ["404", "500", "cut", "stall"])
    def test_a_server_that_fails_in_the_middle_is_one_error_and_the_run_goes_on_when_it_is_back(
        self, fault: str, server: tuple[str, type[_Faulty]], site: Site, tmp_path: Path
    ) -> None:
        host, handler = server
        out = tmp_path / "maps"

        def fail(done: int, total: int, what: str) -> None:
            if (done, what) == (1, "mapping"):
                urllib.request.urlopen(f"{host}/fault/{fault}", timeout=5).close()  # noqa: S310 - the server above

        def work(progress: Progress) -> str:
            go(site.prepared(out, f"{host}/scene.tif"), progress)
            return "whole"

        with child(lambda: work(fail)) as end:
            assert end() == (0, "InputError GS-RASTER-READ")
        assert handler.asked
        assert files(out) == {}
        ledger = Ledger.read(ledger_of(out))
        assert ledger is not None
        # A second worker may have had its window already.
        assert 1 <= len(ledger.done) <= 2
        handler.fault = ""
        with child(lambda: work(quiet)) as end:
            assert end() == (0, "whole")
        for name in site.whole:
            with rasterio.open(out / name) as file, rasterio.open(site.folder / "whole" / name) as other:
                np.testing.assert_array_equal(file.read(1), other.read(1))


class TestTwoRuns:
    """Two runs on one output."""

    def test_a_second_run_is_refused_while_the_first_is_at_work_and_changes_nothing(
        self, run: MapRun, site: Site
    ) -> None:
        codes: list[str] = []

        def progress(done: int, total: int, what: str) -> None:
            if (done, what) in {(2, "mapping"), (1, "writing maps")}:
                with pytest.raises(OutputError) as caught:
                    geosoil.map(site.model, site.scene, run.folder, resume=True, overwrite=True)
                codes.append(caught.value.code)

        go(run, progress)
        assert codes == ["GS-LOCKED"] * 2
        assert files(run.folder) == site.whole
        assert hidden(run.folder) == []

    def test_of_processes_that_start_together_those_that_work_do_so_one_after_the_other(
        self, run: MapRun, site: Site
    ) -> None:
        def work() -> str:
            go(run)
            return "whole"

        with child(work) as one, child(work) as two, child(work) as three:
            told = [end()[1] for end in (one, two, three)]
        assert "whole" in told
        assert set(told) <= {"whole", "OutputError GS-LOCKED", "OutputError GS-OUTPUT-EXISTS"}
        assert files(run.folder) == site.whole
        assert hidden(run.folder) == []
