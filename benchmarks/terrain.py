"""`geosoil terrain` on a made elevation model: time and memory a cell, and the slope and flow that a user would write.

    python benchmarks/terrain.py              # 2,000 x 2,000 cells
    python benchmarks/terrain.py --edge 10000 # 400 MB of heights; half an hour, 4 GB of memory, 20 GB of disk
    python benchmarks/terrain.py --quick      # a few seconds, as the test suite runs it

Peak memory is the resident size that the system kept for the process of the command, GDAL's cache included; it is told
beside what the library held before it began. What a user would write: slope in whole-array NumPy, and multiple flow as
a loop over the cells sorted by height, on a piece that such a loop can finish; both give the same values, and the run
checks it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin

from geosoil.prep.flow import Filled, catchment_area, fill
from geosoil.prep.terrain import gradient, slope

CELL = 10.0
#: Edge of the piece that the plain loop is timed on, cells; the second where it has to be quick.
PIECE, QUICK_PIECE = 150, 60


def octave(rng: np.random.Generator, rows: NDArray[Any], edge: int, knots: int) -> NDArray[np.float32]:
    """Smooth noise on `knots` x `knots` points, bilinear between them, for some rows of a square grid."""
    height = rng.standard_normal((knots + 1, knots + 1)).astype(np.float32)
    at = np.arange(edge) * knots / edge
    low, part = at.astype(int), (at % 1).astype(np.float32)
    down, share = (rows * knots / edge).astype(int), (rows * knots / edge % 1).astype(np.float32)[:, None]
    across = height[:, low] * (1 - part) + height[:, low + 1] * part
    found: NDArray[np.float32] = across[down] * (1 - share) + across[down + 1] * share
    return found


def make_dem(path: Path, edge: int) -> None:
    """Hills of many sizes with pits, a part of the map without data; written strip by strip."""
    profile = {
        "driver": "GTiff", "width": edge, "height": edge, "count": 1, "dtype": "float32", "nodata": float("nan"),
        "crs": "EPSG:32755", "transform": from_origin(500_000, 6_700_000, CELL, CELL),
        "tiled": True, "blockxsize": 512, "blockysize": 512,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        for first in range(0, edge, 512):
            rows = np.arange(first, min(first + 512, edge))
            rng = np.random.default_rng(0)  # the same knots for each strip
            z = np.full((len(rows), edge), 400, np.float32)
            for knots, size in ((4, 120.0), (16, 45.0), (64, 14.0), (256, 4.0)):
                z += size * octave(rng, rows, edge, min(knots, edge // 4))
            z += np.random.default_rng(first).normal(0, 0.2, z.shape).astype(np.float32)
            z[np.hypot(rows[:, None], np.arange(edge)) < edge / 5] = np.nan
            file.write(z, 1, window=((int(rows[0]), int(rows[-1]) + 1), (0, edge)))


def run_command(dem: Path, out: Path, max_memory: str) -> dict[str, Any]:
    """Run the command in its own process."""
    start = time.perf_counter()
    code = (
        "import resource, sys, geosoil, psutil, geosoil.jobs.terrain\n"
        "before = psutil.Process().memory_info().rss\n"
        "geosoil.terrain(sys.argv[1], sys.argv[2], max_memory=sys.argv[3])\n"
        "print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    )
    command = [sys.executable, "-c", code, str(dem), str(out), max_memory]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, peak = (int(one) for one in done.stdout.split())
    return {"seconds": time.perf_counter() - start, "before": before, "peak": peak}


def plain_slope(z: NDArray[np.float32]) -> NDArray[np.float64]:
    """Slope as whole arrays."""
    p = np.pad(z.astype(np.float64), 1, mode="reflect", reflect_type="odd")
    return np.asarray(
        np.arctan(
            np.hypot((p[1:-1, 2:] - p[1:-1, :-2]) / (2 * CELL), (p[:-2, 1:-1] - p[2:, 1:-1]) / (2 * CELL)),
        )
    )


def plain_flow(surface: NDArray[np.float64]) -> NDArray[np.float64]:
    """Multiple flow as a loop over the cells from high to low; beyond the edge the opposite side goes on."""
    height, width = surface.shape
    area = np.full(surface.shape, CELL * CELL)
    steps = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]

    def inside(i: int, j: int) -> bool:
        return bool(0 <= i < height and 0 <= j < width)

    for c in np.argsort(surface, axis=None)[::-1]:
        i, j = divmod(int(c), width)
        shares = {}
        for a, b in steps:
            if inside(i + a, j + b):
                fall = surface[i, j] - surface[i + a, j + b]
            else:
                fall = surface[i - a, j - b] - surface[i, j] if inside(i - a, j - b) else 0.0
            if fall > 0:
                shares[i + a, j + b] = (fall / np.hypot(a, b)) ** 1.1
        total = sum(shares.values())
        for cell, share in shares.items():
            if inside(*cell):
                area[cell] += area[i, j] * share / total
    return area


def seconds(call: Any) -> tuple[float, Any]:
    """Time of a call, after one that does not count, and what it gave."""
    call()
    start = time.perf_counter()
    found = call()
    return time.perf_counter() - start, found


def compare(z: NDArray[np.float32], edge: int) -> dict[str, Any]:
    """Kernels against plain code on the same heights, single-threaded both; flow on a piece of so many cells a side."""
    z = np.nan_to_num(z, nan=float(np.nanmin(z)))
    cell = (CELL, CELL)
    fast, ours = seconds(lambda: slope(*gradient(z, cell)))
    slow, theirs = seconds(lambda: plain_slope(z))
    assert np.abs(ours - theirs).max() < 1e-6
    piece = np.ascontiguousarray(z[-edge:, -edge:])
    filled = fill(piece, cell)
    quick, area = seconds(lambda: catchment_area(filled, cell)[0])
    start = time.perf_counter()
    by_hand = plain_flow(filled.surface)
    by_loop = time.perf_counter() - start
    np.testing.assert_allclose(by_hand, area, rtol=1e-9)
    fill_time, full = seconds(lambda: fill(z, cell))
    flow_time, _ = seconds(lambda: catchment_area(Filled(full.surface, full.order), cell))
    return {
        "slope_ratio_to_numpy": round(slow / fast, 1),
        "flow_ratio_to_python_loop": round(by_loop / quick),
        "fill_mcells_per_s": round(z.size / fill_time / 1e6, 2),
        "flow_mcells_per_s": round(z.size / flow_time / 1e6, 2),
    }


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--edge", type=int, default=2000)
    parser.add_argument("--max-memory", default="4.5GB")
    given = parser.parse_args()
    edge = 200 if given.quick else given.edge
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        dem = Path(folder) / "dem.tif"
        make_dem(dem, edge)
        ran = run_command(dem, Path(folder) / "out", given.max_memory)
        with rasterio.open(dem) as file:
            part = min(edge, 2000)
            z = file.read(1, window=((edge - part, edge), (edge - part, edge)))
        kernels = compare(z, QUICK_PIECE if given.quick else PIECE)
    document = {
        "cores": os.cpu_count(),
        "cells": edge * edge,
        "seconds": round(ran["seconds"], 1),
        "peak_mb": round(ran["peak"] / 1e6),
        "peak_bytes_a_cell_over_the_start": round((ran["peak"] - ran["before"]) / edge**2, 1),
        "kernels": kernels,
        "own_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
    }
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
