"""Whole tiles against patch by patch, in one run: the ratio that the map engine lives on.

    python benchmarks/dense.py                # 37 bands, 9 x 9 and 15 x 15, one and six depths
    python benchmarks/dense.py --quick        # a few seconds, as the test suite runs it

One thread throughout. Naive is what a user would write: cut patches of a tile in batches of 4,096 and call the network
on them. Both give the same values; the run checks it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import torch

from geosoil.grid.tiles import BLOCK
from geosoil.models.cnn import PatchPredictor, Standard
from geosoil.models.loop import one_thread
from geosoil.models.nets import NetSpec, PatchNet

BANDS = 37
DEPTHS_CM = (2.5, 10.0, 22.5, 45.0, 80.0, 150.0)


def predictor(patch: int, depths: int, shared: int = 2) -> PatchPredictor:
    """Untrained networks of the default shape; speed does not depend on the weights."""
    spec = NetSpec(BANDS, patch)
    torch.manual_seed(0)
    first = PatchNet(spec).state_dict()
    nets = []
    for _ in range(depths):
        own = PatchNet(spec).state_dict()
        kept = tuple(f"{group}.{place}." for group in ("convs", "norms") for place in range(shared))
        nets.append({name: first[name] if name.startswith(kept) else value for name, value in own.items()})
    middles = np.array(DEPTHS_CM[:depths])
    return PatchPredictor(spec, (tuple(nets),), middles, Standard(np.zeros(depths), np.ones(depths)), shared)


def seconds(call: Callable[[], object], least: float) -> float:
    """Median time of a call, repeated for at least `least` seconds after one that does not count."""
    call()
    times: list[float] = []
    while sum(times) < least or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def measure(patch: int, depths: int, quick: bool) -> dict[str, float]:
    """Pixels a second of both ways, and their ratio."""
    model = predictor(patch, depths)
    rng = np.random.default_rng(0)
    tile = rng.random((BLOCK + patch - 1, BLOCK + patch - 1, BANDS), np.float32)
    rows = 8 if quick else 32
    strip = tile[: rows + patch - 1]
    windows = np.lib.stride_tricks.sliding_window_view(strip, (patch, patch), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    cells = windows.reshape(-1, *windows.shape[2:]) if quick else None

    def naive() -> np.ndarray:
        flat = windows.reshape(-1, patch, patch, BANDS) if cells is None else cells
        return model.predict(flat)

    least = 0.2 if quick else 4.0
    dense = model.predict_tile(tile)
    slow = naive().T.reshape(depths, rows, BLOCK)
    # The networks are standardised: the spread of their targets is 1.
    worst = float(np.abs(dense[:, :rows] - slow).max())
    assert worst < 1e-5, worst
    fast_rate = BLOCK * BLOCK / seconds(lambda: model.predict_tile(tile), least)
    slow_rate = rows * BLOCK / seconds(naive, least)
    return {
        "patch": patch,
        "depths": depths,
        "dense_pixels_per_s": round(fast_rate),
        "naive_pixels_per_s": round(slow_rate),
        "ratio": round(fast_rate / slow_rate, 1),
        "worst_difference_in_spreads": worst,
        "gflops": round(2e-9 * fast_rate * multiplications(model.spec, depths, shared=2), 1),
    }


def multiplications(spec: NetSpec, depths: int, shared: int) -> int:
    """Multiplications a pixel of the whole-tile network: the shared convolutions once, the rest for each depth."""
    channels = (spec.inputs, *spec.filters)
    blocks = [channels[i] * channels[i + 1] * kernel**2 for i, (kernel, _) in enumerate(spec.kernels)]
    dense = spec.filters[-1] * spec.left**2 * spec.dense[0] + spec.dense[0] * spec.dense[1] + spec.dense[1]
    return sum(blocks[:shared]) + depths * (sum(blocks[shared:]) + dense)


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    with one_thread():
        cases = [(9, 1)] if quick else [(9, 1), (9, 6), (15, 1), (15, 6)]
        found = [measure(patch, depths, quick) for patch, depths in cases]
        for row in found:
            if row["depths"] == 6:
                one = next(other for other in found if other["patch"] == row["patch"] and other["depths"] == 1)
                trunk = multiplications(NetSpec(BANDS, int(row["patch"])), 0, 2)
                head = multiplications(NetSpec(BANDS, int(row["patch"])), 1, 2) - trunk
                # What one depth costs, split by multiplications, makes the trunk once and six heads.
                expected = (trunk + 6 * head) / (trunk + head) / one["dense_pixels_per_s"]
                row["cost_against_trunk_and_six_heads"] = round(1 / row["dense_pixels_per_s"] / expected, 3)
    print(json.dumps({"threads": 1, "bands": BANDS, "cases": found}, indent=1))


if __name__ == "__main__":
    main()
