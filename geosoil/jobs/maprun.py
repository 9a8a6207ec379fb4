"""One run of `geosoil map` in its output folder: lock, ledger, tiles, finished maps, and what a stop leaves."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from geosoil.errors import InputError, OutputError, listing
from geosoil.grid.spool import Ledger, Spool
from geosoil.grid.sweep import sweep_cluster, sweep_threads
from geosoil.grid.tiles import Tile
from geosoil.io.addresses import short_name
from geosoil.io.atomic import output_error, sync_folder
from geosoil.io.blocks import shared_blocks
from geosoil.io.cog import Statistics, write_cog
from geosoil.io.gdal import bounded_sources
from geosoil.io.rawfile import release_maps
from geosoil.jobs.plan import Plan
from geosoil.jobs.provenance import (
    changed_inputs,
    created_now,
    describe,
    differences,
    flag_tags,
    gather_facts,
    key_of,
    map_tags,
)
from geosoil.jobs.task import Abandoned, Task, make_tile, remote_work, windows_of
from geosoil.prep.masks import NODATA
from geosoil.stops import Stop
from geosoil.types import Progress

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["FLAGS", "PROJECT", "RECORD", "REPORT", "SAMPLES", "MapRun", "find_ledger"]

log = logging.getLogger(__name__)

_LEDGER = "ledger.jsonl"
#: Names of the project for QGIS and of the report in the output folder.
PROJECT, REPORT = "maps.qgz", "report.html"
#: Of the samples that the project shows, and of the record.
SAMPLES, RECORD = "samples.gpkg", "run.json"
#: What lies beside a map: its style, its metadata for QGIS, and its STAC item.
_BESIDE = (".qml", ".qmd", ".json")
#: Name of the flags in the output folder.
FLAGS = "masked.tif"


def find_ledger(folder: Path) -> Ledger | None:
    """The ledger of an unfinished run in an output folder."""
    for path in sorted(folder.glob(f".geosoil-*/{_LEDGER}")):
        ledger = Ledger.read(path)
        if ledger is not None and "created" in ledger.header:
            return ledger
    return None


@dataclass(frozen=True)
class MapRun:
    """A run: its folder, its work, and what it needs to go on.

    Attributes
    ----------
    folder : Path
        Output folder.
    plan : Plan
        Tiles and outputs.
    task : Task
        What is done for a tile.
    stack : DataArray
        The scene, with the bands that the task needs.
    nodata : float
        Value of cells without one.
    options : mapping
        Creation options of the maps.
    """

    folder: Path
    plan: Plan
    task: Task
    stack: xr.DataArray
    nodata: float
    options: Mapping[str, str]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """All that the maps depend on."""
        return gather_facts(self.task, self.stack, self.plan.tile_size, self.nodata, self.options)

    @cached_property
    def key(self) -> str:
        """Tells this run from others."""
        return key_of(self.facts)

    @property
    def work(self) -> Path:
        """Folder of the run's own files, on the file system of its maps."""
        return self.folder / f".geosoil-{self.key}"

    @property
    def maps(self) -> tuple[Path, ...]:
        """The maps that the run makes."""
        return tuple(self.folder / f"{output.stem}.tif" for output in self.plan.outputs)

    @property
    def files(self) -> tuple[Path, ...]:
        """The maps, and the flags where cells are masked."""
        return (*self.maps, *([] if self.flags is None else [self.flags]))

    @property
    def flags(self) -> Path | None:
        """The file that says which cells are masked and why; None where none are."""
        return None if self.task.masking is None else self.folder / FLAGS

    def written(self, *, samples: bool) -> list[Path]:
        """All files that the run leaves in its folder; with or without samples to show."""
        beside = [path.with_suffix(suffix) for path in (*self.maps, self.folder / FLAGS) for suffix in _BESIDE]
        names = (FLAGS, PROJECT, REPORT, RECORD, *([SAMPLES] if samples else []))
        return [*self.maps, *beside, *(self.folder / name for name in names)]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the output folder, which is made where it is not there.

        Raises
        ------
        OutputError
            ``GS-LOCKED``, ``GS-NOT-WRITABLE``.
        """
        path = self.folder / ".geosoil.lock"
        lock = FileLock(path)
        found = self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise self._busy() from error
        except OSError as error:
            raise output_error(self.folder, error) from error
        try:
            if not path.exists():  # its last owner removed it while we took it
                raise self._busy()
            yield
        finally:
            with suppress(OSError):  # a folder that is read-only by now; the lock is what counts, not its file
                path.unlink(missing_ok=True)
            lock.release()
            if not found:
                with suppress(OSError):  # a folder that was made for a run which failed at once
                    self.folder.rmdir()

    def _busy(self) -> OutputError:
        return OutputError(
            f"another run is writing to {self.folder}",
            code="GS-LOCKED",
            hint="wait for it, or choose another folder",
        )

    def begin(self, *, resume: bool, overwrite: bool) -> Ledger:
        """The ledger to go on with, or a new one.

        Raises
        ------
        OutputError
            ``GS-OUTPUT-EXISTS``: maps or an unfinished run are there. ``GS-RESUME-KEY``: the unfinished run is another
            one. ``GS-NO-SPACE``, ``GS-NOT-WRITABLE``.
        """
        found = find_ledger(self.folder)
        if resume and found is not None:
            if found.header["key"] == self.key:
                return self._checked(found)
            if not overwrite:
                raise self._another(found)
        if not overwrite:
            self._check_free(found)
        for path in self.folder.glob(".geosoil-*"):
            _remove(path)
        self._drop_old_flags()
        self._check_space()
        try:
            self.work.mkdir(mode=0o700, exist_ok=True)
            header = {"key": self.key, "created": created_now(), "facts": self.facts}
            return Ledger.create(self.work / _LEDGER, header)
        except OSError as error:
            raise output_error(self.folder, error) from error

    def _drop_old_flags(self) -> None:
        """Flags of earlier maps that are replaced by maps without any would tell of the wrong maps."""
        if self.flags is None and any(path.exists() for path in self.maps):
            for path in (self.folder / FLAGS, (self.folder / FLAGS).with_suffix(".qml")):
                path.unlink(missing_ok=True)

    def _check_free(self, unfinished: Ledger | None) -> None:
        there = [path.name for path in self.files if path.exists()]
        if there:
            raise OutputError(
                f"{self.folder} holds {len(there)} of these maps already",
                code="GS-OUTPUT-EXISTS",
                details=[listing(there, 5)],
                hint="choose another folder, or add --overwrite",
            )
        if unfinished is not None:
            raise OutputError(
                f"{self.folder} holds an unfinished run with {len(unfinished.done)} tiles",
                code="GS-OUTPUT-EXISTS",
                hint="go on with it: --resume; or start again: --overwrite",
            )

    def _another(self, ledger: Ledger) -> OutputError:
        return OutputError(
            "the run to go on with is another one",
            code="GS-RESUME-KEY",
            details=differences(ledger.header.get("facts", {}), self.facts)[:10],
            hint="repeat the first command with --resume, or start again with --overwrite",
        )

    def _checked(self, ledger: Ledger) -> Ledger:
        """Without the tiles whose files are not what they were."""
        wrong = self.spool(ledger).check(list(ledger.done))
        for index in wrong:
            del ledger.done[index]
        if wrong:
            log.warning("%d finished tiles were damaged and are made again: %s", len(wrong), listing(wrong))
        return ledger

    def _check_space(self) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < self.plan.space:
            raise OutputError(
                f"{self.folder} has too little room for this run",
                code="GS-NO-SPACE",
                details=[f"needed: {self.plan.space / 1e6:,.0f} MB, free: {free / 1e6:,.0f} MB"],
                hint="free some space, or write elsewhere",
            )

    def check_inputs(self) -> None:
        """Refuse maps of which some tiles are of one state of a file and some of another; the tiles are dropped.

        Raises
        ------
        InputError
            ``GS-INPUT-CHANGED``.
        """
        changed = changed_inputs(self.facts)
        if changed:
            # Nobody knows which of the tiles are of which state.
            self.clean()
            raise InputError(
                f"{short_name(changed[0])} changed while it was mapped",
                code="GS-INPUT-CHANGED",
                details=[f"changed: {listing(changed, 5)}"],
                hint="leave the scene as it is during a run, and start again",
            )

    def spool(self, ledger: Ledger) -> Spool:
        """The finished tiles."""
        return Spool(self.work, self.plan.tiles, self.task.layers, ledger.done)

    def sweep(self, ledger: Ledger, stop: Stop, scheduler: str | None, *, keep_going: bool, progress: Progress) -> None:
        """Make the tiles that are not there yet; returns early after a stop."""
        tiles = [tile for tile in self.plan.in_order() if tile.index not in ledger.done]
        total = len(self.plan.tiles)
        progress(total - len(tiles), total, "mapping")
        noting = threading.Lock()

        def note(tile: Tile, made: int | InputError | None, worker: str = "") -> None:
            if isinstance(made, InputError) and not keep_going:
                raise made
            if isinstance(made, InputError):
                ledger.fail(tile, made.message)
            else:
                ledger.add(tile, made, worker)
            with noting:
                progress(len(ledger.done) + len(ledger.failed), total, "mapping")

        source_of = windows_of(self.stack, self.task.halo)

        def make(tile: Tile) -> None:
            with suppress(Abandoned):
                note(tile, make_tile(self.task, tile, source_of(tile), self.work, lambda: stop.asked))

        with self._writing():
            if scheduler is None:
                try:
                    # At its end files of the scene are closed: what they keep is for the writing of the maps.
                    blocks = self.plan.memory["blocks"]
                    with bounded_sources(self.plan.num_workers), shared_blocks(blocks):
                        sweep_threads(make, tiles, num_workers=self.plan.num_workers, stop=stop)
                finally:
                    release_maps()
            else:
                submit = remote_work(self.task, self.stack, self.work)
                sweep_cluster(submit, lambda tile, found: note(tile, *found), tiles, address=scheduler, stop=stop)

    def finish(self, ledger: Ledger, stop: Stop, progress: Progress) -> dict[Path, Statistics]:
        """Put the maps together from the tiles; those that a stopped run left are made again, with the same bytes."""
        spool = self.spool(ledger)
        created = str(ledger.header["created"])
        found: dict[int, Statistics] = {}
        done = 0
        noting = threading.Lock()
        workers, maps = self.plan.num_workers, len(self.maps)
        # That of the masks is soon done; begun last, it would leave the other threads to wait for a map.
        places = [*range(maps, self.task.layers), *range(maps)]
        progress(0, self.task.layers, "writing maps")

        def tell() -> None:
            nonlocal done
            done += 1
            progress(done, self.task.layers, "writing maps")

        def write(turn: int) -> None:
            place = places[turn]
            if place == maps:
                self._write_flags(spool, created)
                with noting:
                    tell()
                return
            output = self.plan.outputs[place]
            statistics = write_cog(
                self.maps[place],
                lambda rows, columns: spool.window(place, rows, columns),
                self.plan.grid,
                self.work,
                tags=map_tags(output, self.task.model_of(place), self.facts, created),
                description=describe(output),
                unit=output.target.soil_property.unit,
                nodata=self.nodata,
                options=self.options,
                # Shared by those that are begun at once, then by those that are left.
                num_threads=max(1, workers // len(places[0 if turn < workers else turn :])),
            )
            with noting:
                found[place] = statistics
                tell()

        with self._writing():
            sweep_threads(write, range(len(places)), num_workers=workers, stop=stop)
            sync_folder(self.folder)
        return {self.maps[place]: found[place] for place in sorted(found)}

    def _write_flags(self, spool: Spool, created: str) -> None:
        """Which cells are masked, a bit for each reason."""
        if self.flags is None or self.task.masking is None:
            return
        write_cog(
            self.flags,
            lambda rows, columns: spool.window(len(self.maps), rows, columns),
            self.plan.grid,
            self.work,
            tags=flag_tags(self.task.masking.plan, self.facts, created),
            description="masked cells",
            unit="1",
            nodata=NODATA,
            dtype="uint16",
            resampling="nearest",
            options=self.options,
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn what the system says of a write into an OutputError."""
        try:
            yield
        except OutputError:
            raise
        except OSError as error:
            raise output_error(self.folder, error) from error

    def clean(self) -> None:
        """Remove the work folder."""
        _remove(self.work)


def _remove(work: Path) -> None:
    """Remove a work folder, into which a worker of a cluster may yet put the tile that it was at when its run ended."""
    for _ in range(10):
        shutil.rmtree(work, ignore_errors=True)
        if not work.exists():
            return
        time.sleep(0.1)
