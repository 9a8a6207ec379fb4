"""A run in a process that the system gives no more memory than the run was told: the bound is hard for any scene."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import rasterio
from rasterio.windows import Window

from .mapping import make_model, make_stack

LIMIT = 1_000_000_000
#: Maps a small scene to its end, and all tiles of a large one; tells the peaks and whether the limit is in force.
MAPPING = """
import json, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
import numpy as np
import geosoil
class Halt(Exception):
    pass
def peak():
    (found,) = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return 1024 * found
def progress(done, total, message):
    if message == "writing maps":
        raise Halt
how = {"max_memory": limit, "tile_size": 256, "num_workers": 2}
plan = geosoil.map("soc.gsm", "small.tif", "small", **how).record["plan"]
told = {"small": peak(), "planned": plan["memory_bytes"]["all"], "large": None}
try:
    geosoil.map("soc.gsm", "large.tif", "large", **how, progress=progress)
except Halt:
    told["large"] = peak()
try:
    np.empty(limit, np.uint8)
    told["refused"] = False
except MemoryError:
    told["refused"] = True
print(json.dumps(told))
"""


def make_large(small: Path, large: Path, edge: int) -> None:
    """The scene in the corner of a large one without other data, which takes no room on the disk."""
    with rasterio.open(small) as source:
        profile = {**source.profile, "width": edge, "height": edge, "sparse_ok": True}
        with rasterio.open(large, "w", **profile) as file:
            file.write(source.read(), window=Window(0, 0, source.width, source.height))
            file.descriptions = source.descriptions


def test_a_process_of_the_least_memory_maps_scenes_of_any_size(tmp_path: Path) -> None:
    make_model(tmp_path / "soc.gsm", kind="rf")
    make_stack(tmp_path / "small.tif", (256, 256), missing=0.0)
    make_large(tmp_path / "small.tif", tmp_path / "large.tif", 4096)
    command = [sys.executable, "-c", MAPPING, str(LIMIT)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["refused"], "the limit is in force"
    assert told["small"] <= told["planned"] <= LIMIT
    # GDAL's cache fills up to its 64 MiB; held as a whole, the large scene would take 201 MB, and its tiles 134.
    assert told["large"] <= told["small"] + 100e6, told
    assert len(list((tmp_path / "large").glob(".geosoil-*/*.f32"))) == 1
