"""What the machine cannot do faster: reading a scene's bytes once in order, and a model's multiplications."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
import torch
import xarray as xr
from inversion import best_product, read_bytes
from rasterio.windows import Window

from .engine import cores
from .scenes import EDGE, Scene, samples
from .workloads import Workload

__all__ = ["decoding", "exponentials", "forest_rate", "multiplying", "reading"]


def reading(scene: Scene) -> float:
    """Seconds to read the scene's bytes in order, from memory where they fit there."""
    files = [scene.path]
    if scene.path.is_dir():
        files = sorted(path for path in scene.path.rglob("*") if path.is_file())
    return sum(read_bytes(path) for path in files)


def decoding(scene: Scene) -> float:
    """Seconds in which the format's own library turns the file into numbers, on all cores where it can; told beside."""
    start = time.perf_counter()
    if scene.path.suffix == ".zarr":
        xr.open_zarr(scene.path, consolidated=False)["scene"].data.sum().compute()
    else:
        with rasterio.open(scene.path, num_threads="all_cpus") as file:
            rows, columns = file.shape
            wide = columns if scene.path.suffix == ".dat" else EDGE
            for row in range(0, rows, EDGE):
                for column in range(0, columns, wide):
                    file.read(window=Window(column, row, min(wide, columns - column), min(EDGE, rows - row)))
    return time.perf_counter() - start


def multiplying(workload: Workload, cells: int, quick: bool) -> dict[str, float]:
    """Seconds of the multiplications of all cells at the best measured speed of products of their shapes."""
    seconds, flops = 0.0, 0
    for work, shapes in workload.products:
        seconds += work * cells / best_product(list(shapes), cores(), quick) / 1e9
        flops += work
    return {"seconds": seconds, "gflops": flops * cells / seconds / 1e9, "flops_a_cell": flops}


def exponentials(count: int) -> float:
    """Seconds of so many exponentials of float32 in cache, by NumPy or torch, whichever is quicker, on all cores."""
    block = np.linspace(-20, 0, 32_768, dtype=np.float32)
    out, tensor = np.empty_like(block), torch.from_numpy(block)
    into, rounds, best = torch.empty_like(tensor), 2000, np.inf
    for one in (lambda: np.exp(block, out=out), lambda: torch.exp(tensor, out=into)):
        with single_threaded():
            for _ in range(3):
                start = time.perf_counter()
                for _ in range(rounds):
                    one()
                best = min(best, (time.perf_counter() - start) / (rounds * len(block)))
    return count * best / cores()


@contextmanager
def single_threaded() -> Iterator[None]:
    """Let torch use one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def forest_rate(workload: Workload, bands: int, quick: bool) -> dict[str, float]:
    """Cells a second on a tile in memory: scikit-learn's own parallel predict, and geosoil's kernel on one thread."""
    tile = samples(bands, 128**2 if quick else EDGE**2)
    predictor = workload.bundle.predictor
    cells = np.ascontiguousarray(tile.reshape(128, -1, bands))
    theirs, ours = [], []
    for _ in range(1 if quick else 3):
        start = time.perf_counter()
        workload.estimator.predict(tile)
        middle = time.perf_counter()
        predictor.predict_tile(cells)
        ours.append(time.perf_counter() - middle)
        theirs.append(middle - start)
    return {"sklearn": len(tile) / min(theirs), "kernel_one_thread": len(tile) / min(ours)}


def size_of(path: Path) -> int:
    """Bytes of a file or a store."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)
