"""`geosoil map` against a plain rasterio loop; memory against the scene's size; a big map killed and gone on with.

    python benchmarks/mapping.py              # scenes of 1,000, 2,000 and 4,000 cells a side, 37 bands, six depths
    python benchmarks/mapping.py --quick      # under half a minute, to see that it works; one scene, no warm-up

The plain loop is what a user would write round the same model: read a window of 512 cells with its halo, predict it,
write it to six files, window after window, and turn these into COGs; the values are the same, and the run checks it.
Peak memory is the resident size that the system kept for the process, GDAL's cache included.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from made import DEPTHS, NAMES, make_model, make_scene
from rasterio.windows import Window

from geosoil.grid.tiles import plan_tiles
from geosoil.jobs.task import Task
from geosoil.models.bundle import load_model

#: What all runs are held to.
MEMORY = "1500MB"
#: Equal times in the files, so that equal maps are equal bytes.
ENVIRONMENT = {**os.environ, "SOURCE_DATE_EPOCH": "1767225600"}


def plain_loop(model: Path, scene: Path, out: Path) -> float:
    """Seconds of the loop; its maps are in `out`."""
    start = time.perf_counter()
    bundle = load_model(model)
    halo = bundle.patch // 2
    task = Task((bundle,), (tuple(range(len(NAMES))),), halo, ("mean",), "error")
    out.mkdir()
    with rasterio.open(scene) as source:
        edge = source.width
        profile = {
            "driver": "GTiff", "width": edge, "height": edge, "count": 1, "dtype": "float32", "nodata": np.nan,
            "crs": source.crs, "transform": source.transform, "tiled": True, "blockxsize": 512, "blockysize": 512,
        }  # fmt: skip
        files = [rasterio.open(out / f"plain-{place}.tif", "w", **profile) for place in range(len(DEPTHS))]
        scales = np.array(source.scales, np.float32)[:, None, None]
        for tile in plan_tiles(edge, edge, 512):
            window = Window(
                tile.column - halo, tile.row - halo, tile.width + 2 * halo, tile.height + 2 * halo
            )  # fmt: skip
            raw = source.read(window=window, boundless=True, masked=True)
            values = (raw.astype(np.float32) * scales).filled(np.nan)
            place = Window(tile.column, tile.row, tile.width, tile.height)
            for file, values_of_depth in zip(files, task.predict(values, tile), strict=True):
                file.write(values_of_depth, 1, window=place)
    for place, file in enumerate(files):
        file.close()
        rasterio.shutil.copy(
            str(out / f"plain-{place}.tif"), str(out / f"{place}.tif"), driver="COG",
            COMPRESS="DEFLATE", PREDICTOR="YES", BLOCKSIZE="512", OVERVIEW_RESAMPLING="AVERAGE",
        )  # fmt: skip
        (out / f"plain-{place}.tif").unlink()
    return time.perf_counter() - start


def command(model: Path, scene: Path, out: Path, *options: str) -> list[str]:
    """`geosoil map` as a user types it."""
    geosoil = str(Path(sys.executable).with_name("geosoil"))
    return [geosoil, "map", str(model), str(scene), str(out), "--max-memory", MEMORY, "-q", *options]


def run(words: list[str]) -> dict[str, float]:
    """Seconds and peak memory of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, words
    return {"seconds": round(time.perf_counter() - start, 1), "peak_mb": round(usage.ru_maxrss * 1024 / 1e6)}


def kill_in_the_middle(words: list[str], out: Path) -> float:
    """Start a run, kill it when half of its tiles are done, and give back the share that was."""
    process = subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    tiles, done = 0, 0
    while process.poll() is None:
        ledgers = list(out.glob(".geosoil-*/ledger.jsonl"))
        if ledgers:
            text = ledgers[0].read_text(encoding="utf-8")
            if text.endswith("\n") and not tiles:
                facts = json.loads(text.splitlines()[0])["facts"]
                tiles = (-(-facts["grid"]["rows"] // facts["tile_size"])) ** 2
            done = text.count("\n") - 1
            if tiles and done >= tiles // 2:
                process.send_signal(signal.SIGKILL)
                break
        time.sleep(0.02)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not list(out.glob("*.tif"))
    return round(done / tiles, 2)


def same_maps(one: Path, other: Path) -> bool:
    """Whether two folders hold the same maps, byte for byte."""
    names = sorted(path.name for path in one.glob("*.tif"))
    return bool(names) and filecmp.cmpfiles(one, other, names, shallow=False)[0] == names


def same_values(out: Path, plain: Path) -> bool:
    """Whether the maps of both ways hold the same values, but for the rounding of the scaled input."""
    for place, (top, bottom) in enumerate(DEPTHS):
        with (
            rasterio.open(out / f"soc_{top}-{bottom}cm_mean.tif") as a,
            rasterio.open(plain / f"{place}.tif") as b,
        ):
            if not np.allclose(a.read(1), b.read(1), rtol=1e-5, equal_nan=True):
                return False
    return True


def measure(folder: Path, patch: int, edges: list[int], *, quick: bool) -> dict[str, Any]:
    """All of it; the loop on the last size but one."""
    model = folder / "model.gsm"
    make_model(model, patch)
    scenes = {edge: make_scene(folder / f"scene-{edge}.tif", edge) for edge in edges}
    small, middle, large = edges[0], edges[-2:][0], edges[-1]
    if not quick:
        run(command(model, scenes[small], folder / "warm-up"))
    sizes = []
    for edge in edges:
        found = run(command(model, scenes[edge], folder / f"maps-{edge}"))
        sizes.append({"edge": edge, **found, "pixels_per_s": round(edge**2 / found["seconds"])})
    seconds = plain_loop(model, scenes[middle], folder / "plain")
    # The quick run leaves this out: the test suite compares workers on maps of its own.
    one = run(command(model, scenes[middle], folder / "one", "-j", "1")) if not quick else None
    mapped = next(row for row in sizes if row["edge"] == middle)
    assert same_values(folder / f"maps-{middle}", folder / "plain")
    assert one is None or same_maps(folder / f"maps-{middle}", folder / "one")
    words = command(model, scenes[large], folder / "killed")
    share = kill_in_the_middle(words, folder / "killed")
    resumed = run([*words, "--resume"])
    assert same_maps(folder / f"maps-{large}", folder / "killed")
    return {
        "cores": os.cpu_count(),
        "bands": len(NAMES),
        "depths": len(DEPTHS),
        "patch": patch,
        "max_memory": MEMORY,
        "sizes": sizes,
        "peak_of_largest_to_smallest": round(sizes[-1]["peak_mb"] / sizes[0]["peak_mb"], 2),
        "against_plain_loop": {
            "edge": middle,
            "plain_seconds": round(seconds, 1),
            "all_workers": round(seconds / mapped["seconds"], 2),
            "one_worker": None if one is None else round(seconds / one["seconds"], 2),
        },
        "killed_and_resumed": {"edge": large, "done_when_killed": share, **resumed, "same_bytes": True},
    }


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--patch", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="for scenes and maps, about 5 GB; default: a temporary one")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="geosoil-benchmark-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        edges = [256] if options.quick else [1000, 2000, 4000]
        patch = 5 if options.quick else options.patch
        print(json.dumps(measure(folder, patch, edges, quick=options.quick), indent=1))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
