"""`geosoil map` held to its bound by the operating system: --max-memory of the command is the limit of the process.

    python benchmarks/memory.py               # 1,000 to 20,000 cells a side with PLSR, to 4,000 with six networks
    python benchmarks/memory.py --quick       # one small scene, to see that it works

37 bands, 16-bit integers with a scale, tiled and deflated. Scenes are one block of 2,048 x 2,048 cells again and again,
so that 400 million cells fit on a disk; each cell is read and decoded as if it were there once. The limit is that of a
control group without swap where one may be made, else RLIMIT_DATA; the result says which. A process that takes more
is killed, or gets no memory. The corner that all scenes have in common must come out the same from all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from limits import limited, way_to_limit
from made import BANDS, NAMES, make_bundle, make_model, make_scene
from rasterio.windows import Window
from repeated import repeat_blocks

from geosoil.jobs.plan import bytes_of
from geosoil.models.linear import LinearHead
from geosoil.models.spectral import SpectralPredictor, TargetHead
from geosoil.prep.encode import Encoder
from geosoil.prep.spectra import Preprocess
from geosoil.prep.target import TargetTransform

MEMORY = "1GB"
_SEED_EDGE = 2048


@dataclass(frozen=True)
class Case:
    """A model on a scene."""

    model: str
    edge: int
    memory: str = MEMORY


CASES = [
    *(Case("linear", edge) for edge in (1000, 4000, 10_000, 20_000)),
    *(Case("network", edge) for edge in (1000, 4000)),
]
QUICK = [Case("linear", 256)]


def make_linear(path: Path) -> None:
    """A model file of PLSR on the bands of `make_scene`."""
    rng = np.random.default_rng(0)
    rows = 30 * rng.random((50, BANDS))
    head = LinearHead(rng.normal(scale=0.02, size=BANDS), 1.0, 5, np.ones(BANDS))
    target = TargetHead(np.arange(BANDS), head, -10.0, 10.0)
    steps = Preprocess.fit(rows, np.linspace(400.0, 2400.0, BANDS), ())
    predictor = SpectralPredictor(steps, None, (target,))
    transform = TargetTransform.fit(np.geomspace(1.0, 50.0, 200), "log")
    encoder = Encoder.identity(NAMES, rows)
    make_bundle(path, predictor, encoder, "plsr", transform)


def make_block(folder: Path, edge: int) -> Path:
    """The block that scenes repeat, as a BigTIFF."""
    plain = make_scene(folder / "plain.tif", edge)
    block = folder / "block.tif"
    with rasterio.open(plain) as file:
        profile = {**file.profile, "tiled": True, "bigtiff": "yes", "zlevel": 1}
        with rasterio.open(block, "w", **profile) as out:
            out.write(file.read())
            out.descriptions, out.scales = file.descriptions, file.scales
    plain.unlink()
    return block


def corner(folder: Path) -> list[bytes]:
    """The first cells of each map, without those that a network sees beyond the smallest scene from."""
    maps = []
    for path in sorted(folder.glob("*_mean.tif")):
        with rasterio.open(path) as file:
            maps.append(file.read(1, window=Window(0, 0, 192, 192)).tobytes())
    return maps


def run(case: Case, folder: Path, block: Path) -> tuple[dict[str, Any], list[bytes]]:
    """Map a scene under the limit; what it took, and the corner of its maps."""
    scene, out = folder / f"scene-{case.edge}.tif", folder / "maps"
    repeat_blocks(block, scene, case.edge)
    geosoil = str(Path(sys.executable).with_name("geosoil"))
    words = [geosoil, "map", str(folder / f"{case.model}.gsm"), str(scene), str(out), "--max-memory", case.memory, "-q"]
    limit = bytes_of(case.memory)
    try:
        peak = limited(words, limit, os.environ)
        record = json.loads((out / "run.json").read_text(encoding="utf-8")) if peak.code == 0 else {}
        found = corner(out)
    finally:
        scene.unlink()
        shutil.rmtree(out, ignore_errors=True)
    plan = record.get("plan", {})
    told = {
        "model": case.model,
        "edge": case.edge,
        "limit_mb": round(limit / 1e6),
        "peak_mb": round(peak.resident / 1e6),
        "own_peak_mb": round(peak.own / 1e6),
        "group_peak_mb": None if peak.group is None else round(peak.group / 1e6),
        "planned_mb": round(plan.get("memory_bytes", {}).get("all", 0) / 1e6),
        "tile_size": plan.get("tile_size"),
        "num_workers": plan.get("num_workers"),
        "seconds": round(peak.seconds, 1),
        "exit_code": peak.code,
        "kills": peak.kills,
        "ok": peak.code == 0 and peak.resident <= limit and peak.kills == 0,
    }
    return told, found


def measure(folder: Path, cases: list[Case]) -> dict[str, Any]:
    """All of it."""
    edge = max(512, min(_SEED_EDGE, max(case.edge for case in cases)))
    block = make_block(folder, edge)
    make_linear(folder / "linear.gsm")
    make_model(folder / "network.gsm", 9)
    rows = []
    corners: dict[str, list[bytes]] = {}
    for case in cases:
        told, found = run(case, folder, block)
        told["same_corner"] = bool(found) and corners.setdefault(case.model, found) == found
        print(json.dumps(told), file=sys.stderr, flush=True)
        rows.append(told)
    growth = {}
    for model in dict.fromkeys(case.model for case in cases):
        peaks = [row["peak_mb"] for row in rows if row["model"] == model]
        growth[model] = round(peaks[-1] / peaks[0], 2)
    return {"bands": BANDS, "limit": way_to_limit(), "cases": rows, "peak_of_largest_to_smallest": growth}


def main() -> None:
    """Print one JSON document; ends with an error where a run did not keep its bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, help="for scenes and maps, about 9 GB; default: a temporary one")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="geosoil-benchmark-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found = measure(folder, QUICK if options.quick else CASES)
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(found, indent=1))
    if not all(row["ok"] and row["same_corner"] for row in found["cases"]):
        sys.exit("a run took more than its bound, failed, or gave other values")


if __name__ == "__main__":
    main()
