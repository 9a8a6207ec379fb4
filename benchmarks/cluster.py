"""The same map in every way that there is: threads, clusters, runs that were stopped, tile sizes. One checksum.

    python benchmarks/cluster.py              # 2,000 x 2,000 cells, 37 bands, 9 x 9, six depths
    python benchmarks/cluster.py --quick      # a scene of 300 x 300 cells, 5 x 5, no cut cable; about a minute

Clusters are processes with one thread each, with the rights of root in network namespaces of their own. "cut" takes a
worker's cable away in the middle, as a machine without power is: nobody is told, and dask's own time-outs find out.
Seconds are those of the tiles, from the first that is taken to the last that is done, models loaded before. Overhead
is what a cluster takes of the time of as many threads in one process.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import rasterio
from distributed.protocol.pickle import dumps
from made import DEPTHS, NAMES, make_model, make_scene

import geosoil
from geosoil.errors import InterruptedRunError
from geosoil.grid.tiles import plan_tiles
from geosoil.jobs.matching import Masks, Reading, prepare
from geosoil.jobs.task import remote_work
from geosoil.testing.cluster import Machines, machines

TILE_SIZES = (128, 256, 512, 1024)
NEEDED = ("geosoil.jobs.task", "geosoil.models.cnn")
Happening = Callable[[int, int], None]


def nothing(done: int, total: int) -> None:
    """What happens in an undisturbed run."""


def stop_at_half(done: int, total: int) -> None:
    """Ask this process to stop when half of the tiles are done."""
    if done == total // 2:
        os.kill(os.getpid(), signal.SIGTERM)


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 over the pixels and over the files of all maps."""
    pixels, files = hashlib.sha256(), hashlib.sha256()
    for path in sorted(folder.glob("*.tif")):
        files.update(path.read_bytes())
        with rasterio.open(path) as file:
            pixels.update(file.read(1).tobytes())
    return {"pixels": pixels.hexdigest(), "files": files.hexdigest()}


class Ways:
    """A model and a scene, mapped again and again."""

    def __init__(self, folder: Path, edge: int, patch: int) -> None:
        self.folder = folder
        self.model, self.scene = folder / "model.gsm", make_scene(folder / "scene.tif", edge)
        make_model(self.model, patch)
        self.found: dict[str, dict[str, Any]] = {}

    def map(self, way: str, *, happens: Happening = nothing, **options: Any) -> float:
        """Map, note checksums, and give back the seconds of the tiles."""
        times: list[float] = []

        def progress(done: int, total: int, what: str) -> None:
            if what == "mapping":
                times.append(time.perf_counter())
                happens(done, total)

        out = self.folder / "maps"
        geosoil.map(self.model, self.scene, out, progress=progress, **{"tile_size": 256, **options})
        self.found[way] = {"seconds": round(times[-1] - times[0], 2), **checksums(out)}
        shutil.rmtree(out)
        return times[-1] - times[0]

    def stopped(self, way: str, **options: Any) -> None:
        """Stop at half, and go on with `options`."""
        with suppress(InterruptedRunError):
            self.map(way, happens=stop_at_half, num_workers=1)
        assert way not in self.found
        self.map(way, resume=True, **options)

    def bytes_of_a_tile(self) -> int:
        """How much goes to a worker with each tile."""
        task, stack = prepare(self.model, self.scene, ("mean",), "error", Reading(), Masks())
        (self.folder / "work").mkdir()
        submit = remote_work(task, stack, self.folder / "work")
        return int(submit(_Scales(), plan_tiles(int(stack.sizes["y"]), int(stack.sizes["x"]), 256)[0]))


class _Scales:
    """A client that weighs what it is to send."""

    def submit(self, *arguments: object, pure: bool) -> int:
        """Bytes of the arguments."""
        return len(dumps(arguments))


def on_clusters(ways: Ways, threads: dict[int, float], *, cut: bool) -> dict[str, Any]:
    """The ways with workers; what a cluster costs over as many threads."""
    with machines(2, preload=NEEDED) as cluster:
        overhead = {}
        for count in (2, 4):
            cluster.add(count - len(cluster.workers))
            if cut:  # the first run loads the models
                ways.map(f"{count} workers, first run", scheduler=cluster.address)
            seconds = ways.map(f"{count} workers", scheduler=cluster.address)
            overhead[f"{count} workers"] = round(seconds / threads[count], 2)
        ways.stopped("stopped here, resumed by 4 workers", scheduler=cluster.address)
        ways.map("4 workers, one killed", happens=_at_third(cluster, "kill"), scheduler=cluster.address)
        if cut:
            ways.map("3 workers, one cut off", happens=_at_third(cluster, "cut"), scheduler=cluster.address)
        return {"network_namespaces": cluster.apart, "time_of_as_many_threads": overhead}


def _at_third(cluster: Machines, what: str) -> Happening:
    def happens(done: int, total: int) -> None:
        if done == total // 3:
            getattr(cluster.living[0], what)()

    return happens


def measure(folder: Path, edge: int, patch: int, *, cut: bool) -> dict[str, Any]:
    """All of it."""
    ways = Ways(folder, edge, patch)
    if cut:
        ways.map("first run", num_workers=1)
    threads = {
        count: ways.map(f"{count} thread{'s'[: count > 1]}", num_workers=count, max_memory="8GB") for count in (1, 2, 4)
    }
    ways.stopped("stopped, resumed on 2 threads", num_workers=2)
    for size in TILE_SIZES:
        ways.map(f"tiles of {size}", tile_size=size, num_workers=2)
    told = on_clusters(ways, threads, cut=cut)
    seen = {(way["pixels"], way["files"]) for way in ways.found.values()}
    assert len(seen) == 1, ways.found
    return {
        "cores": os.cpu_count(),
        "bands": len(NAMES),
        "depths": len(DEPTHS),
        "cells": edge**2,
        "patch": patch,
        "bytes_sent_with_a_tile": ways.bytes_of_a_tile(),
        **told,
        "checksums": len(seen),
        "ways": ways.found,
    }


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--edge", type=int, help="cells a side")
    options = parser.parse_args()
    os.environ["SOURCE_DATE_EPOCH"] = "1767225600"
    folder = Path(tempfile.mkdtemp(prefix="geosoil-benchmark-"))
    edge = options.edge or (300 if options.quick else 2000)
    try:
        print(json.dumps(measure(folder, edge, 5 if options.quick else 9, cut=not options.quick), indent=1))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
