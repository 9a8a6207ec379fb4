"""Whole tiles against patch by patch, in one run: the ratio that mapping lives on.

    python benchmarks/dense.py                # 37 bands, 9 x 9 and 15 x 15, one and six depths
    python benchmarks/dense.py --quick        # a few seconds, as the test suite runs it

Patch by patch is what a user would write today: cut the patches of some rows, 4,096 at a time, and call the networks
on them, with as many threads as PyTorch takes by itself. Whole tiles are what `geosoil map` does: blocks of 128 x 128
cells, one thread each, on all cores. Both give the same values; the run checks it. A third column tells the same
comparison on one thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from made import BANDS, DEPTHS, SHARED, make_predictor
from numpy.typing import NDArray

from geosoil.grid.tiles import BLOCK
from geosoil.models.cnn import DEPTH_SCALE_CM, PatchPredictor
from geosoil.models.nets import NetSpec, PatchNet

BATCH = 4096


def seconds(call: Callable[[], object], least: float) -> float:
    """Median time of a call, repeated for at least `least` seconds after one that does not count."""
    call()
    times: list[float] = []
    while sum(times) < least or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def patch_by_patch(nets: list[tuple[PatchNet, float]], strip: NDArray[np.float32], patch: int) -> NDArray[np.float32]:
    """All cells of a strip (h + w - 1, W + w - 1, F), by their patches and each network's depth: (T, h, W)."""
    windows = np.lib.stride_tricks.sliding_window_view(strip, (patch, patch), axis=(0, 1))
    rows, columns = windows.shape[:2]
    cells = windows.reshape(-1, strip.shape[2], patch, patch)
    with torch.inference_mode():
        parts = []
        for start in range(0, len(cells), BATCH):
            batch = torch.from_numpy(cells[start : start + BATCH])
            parts.append(torch.cat([net(batch, torch.full((len(batch),), depth)) for net, depth in nets], dim=1))
    return torch.cat(parts).numpy().T.reshape(len(nets), rows, columns)


def networks(model: PatchPredictor) -> list[tuple[PatchNet, float]]:
    """The networks of a predictor, one a depth, with the depth as they take it."""
    found = []
    for state, depth in zip(model.members[0], model.depths_cm, strict=True):
        net = PatchNet(model.spec)
        net.load_state_dict(state)
        found.append((net.eval(), float(depth) / DEPTH_SCALE_CM))
    return found


def measure(patch: int, depths: int, quick: bool) -> dict[str, Any]:
    """Pixels a second of both ways, and their ratios."""
    model = make_predictor(patch, depths)
    nets = networks(model)
    tile = np.random.default_rng(0).random((BLOCK + patch - 1, BLOCK + patch - 1, BANDS), np.float32)
    rows = 8 if quick else 32
    strip = tile[: rows + patch - 1]
    workers = os.cpu_count() or 1
    least = 0.2 if quick else 4.0
    slow_values = patch_by_patch(nets, strip, patch)
    # The networks are standardised: the spread of their targets is 1.
    worst = float(np.abs(model.predict_tile(tile)[:, :rows] - slow_values).max())
    assert worst < 1e-5, worst

    def slow_rate(threads: int) -> float:
        torch.set_num_threads(threads)
        return rows * BLOCK / seconds(lambda: patch_by_patch(nets, strip, patch), least)

    def fast_rate(threads: int) -> float:
        with ThreadPoolExecutor(threads) as pool:
            return threads * BLOCK**2 / seconds(lambda: list(pool.map(model.predict_tile, [tile] * threads)), least)

    slow, fast, slow_one, fast_one = slow_rate(workers), fast_rate(workers), slow_rate(1), fast_rate(1)
    return {
        "patch": patch,
        "depths": depths,
        "whole_tile_pixels_per_s": round(fast),
        "patch_by_patch_pixels_per_s": round(slow),
        "ratio": round(fast / slow, 1),
        "one_thread": {
            "whole_tile_pixels_per_s": round(fast_one),
            "patch_by_patch_pixels_per_s": round(slow_one),
            "ratio": round(fast_one / slow_one, 1),
            "gflops": round(2e-9 * fast_one * multiplications(model.spec, depths), 1),
        },
        "worst_difference_in_spreads": worst,
    }


def multiplications(spec: NetSpec, depths: int) -> int:
    """Multiplications a pixel of the whole-tile network: the shared convolutions once, the rest for each depth."""
    channels = (spec.inputs, *spec.filters)
    blocks = [channels[i] * channels[i + 1] * kernel**2 for i, (kernel, _) in enumerate(spec.kernels)]
    dense = spec.filters[-1] * spec.left**2 * spec.dense[0] + spec.dense[0] * spec.dense[1] + spec.dense[1]
    return sum(blocks[:SHARED]) + depths * (sum(blocks[SHARED:]) + dense)


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    cases = [(9, 1)] if quick else [(patch, depths) for patch in (9, 15) for depths in (1, len(DEPTHS))]
    found = [measure(patch, depths, quick) for patch, depths in cases]
    for row in found:
        if row["depths"] > 1:
            one = next(other for other in found if other["patch"] == row["patch"] and other["depths"] == 1)
            trunk = multiplications(NetSpec(BANDS, row["patch"]), 0)
            head = multiplications(NetSpec(BANDS, row["patch"]), 1) - trunk
            # What one depth costs, split by multiplications, makes the trunk once and a head for each depth.
            expected = (trunk + row["depths"] * head) / (trunk + head) / one["one_thread"]["whole_tile_pixels_per_s"]
            row["cost_against_trunk_and_heads"] = round(1 / row["one_thread"]["whole_tile_pixels_per_s"] / expected, 3)
    print(json.dumps({"cores": os.cpu_count(), "bands": BANDS, "cases": found}, indent=1))


if __name__ == "__main__":
    main()
