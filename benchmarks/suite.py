"""The map engine against the limits of the machine and against what people use: one command, one page.

    python benchmarks/suite.py --out FOLDER                 # all of it; about half an hour
    python benchmarks/suite.py --out FOLDER --long          # the scene of 400 million cells too
    python benchmarks/suite.py --out FOLDER --only plsr,cnn --resume
    python benchmarks/suite.py --out FOLDER --quick         # small scenes: that it works, not how fast it is

Leaves FOLDER/suite.json, written after every case, and at the end FOLDER/suite.html. `--resume` keeps the cases that
are there.
Workloads: plsr (in every format), svr, forest, cnn, fusion; start, tiles, sizes, memory. Peers that are not installed
are named in the page with that reason; `pip install -e .[benchmarks]` brings those in Python, and Debian's
r-cran-terra and r-cran-ranger R's. Scenes are kept in FOLDER/work until all cases are done: 10 GB.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
import psutil
import rasterio
import threadpoolctl
from suite_parts.cases import Bench, Case, all_cases
from suite_parts.page import write_page
from suite_parts.peers import PEERS

#: Peers whose packages geosoil itself needs; a quick run asks no others.
DECLARED = ("rasterio loop", "apply_ufunc")
_PACKAGES = ("geosoil", "numpy", "numba", "torch", "scikit-learn", "dask", "xarray", "rasterio", "zarr")


def machine() -> dict[str, Any]:
    """What the figures are of."""
    return {
        "cpu": f"{_cpu()} ({llvmlite.binding.get_host_cpu_name()})",
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "load": os.getloadavg()[0],
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _blas() -> str:
    """The library of NumPy's matrix products, and the processor that it takes this one for."""
    np.ones((2, 2)) @ np.ones((2, 2))
    found = [one for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"]
    one = next((one for one in found if "numpy" in one["filepath"]), found[0])  # SciPy may have brought its own
    return f"{one['internal_api']} {one['version']}, {one.get('architecture', 'of one kind')}"


def versions() -> dict[str, str]:
    """Of the packages that matter, and of the peers that are there."""
    found = {"python": platform.python_version(), "gdal": rasterio.__gdal_version__, "blas": _blas()}
    for name in (*_PACKAGES, "pyspatialml", "xbatcher"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def earlier(path: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """The cases of an earlier run of the same kind on the same machine; refuses others."""
    if not path.exists():
        return {}
    results = json.loads(path.read_text(encoding="utf-8"))
    for name in ("quick", "versions", "peers"):
        if results[name] != told[name]:
            raise SystemExit(f"{path} is of another {name}: {results[name]}, not {told[name]}; leave out --resume")
    if results["machine"]["cpu"] != told["machine"]["cpu"]:
        raise SystemExit(f"{path} is of another machine; leave out --resume")
    return {key: one for key, one in results["cases"].items() if "failed" not in one}


def save(results: Mapping[str, Any], out: Path) -> None:
    """The results, whole or as they were."""
    part = out / "suite.json.part"
    part.write_text(json.dumps(results, indent=1), encoding="utf-8")
    part.replace(out / "suite.json")


def _in_order(cases: dict[str, Any], quick: bool) -> dict[str, Any]:
    """The cases in the order of the list, whatever was kept of which run."""
    return {case.key: cases[case.key] for case in all_cases(quick) if case.key in cases}


def run(case: Case, bench: Bench) -> dict[str, Any]:
    """A case's record; what goes wrong in it is one too, so that the others are measured."""
    start = time.perf_counter()
    try:
        found = case.run(bench)
    except Exception as error:
        found = {"failed": f"{type(error).__name__}: {str(error)[:300]}", "trace": traceback.format_exc()[-3000:]}
    return found | {"seconds": round(time.perf_counter() - start, 1)}


def main(words: Sequence[str] | None = None) -> None:
    """Run what was asked for."""
    options = _options(words)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    peers = tuple(options.peers.split(",")) if options.peers else DECLARED if options.quick else tuple(PEERS)
    results: dict[str, Any] = {
        "schema": 1, "quick": options.quick, "machine": machine(), "versions": versions(), "peers": list(peers),
    }  # fmt: skip
    kept = earlier(out / "suite.json", results) if options.resume else {}
    wanted = options.only.split(",") if options.only else None
    cases = [case for case in all_cases(options.quick) if wanted is None or case.workload in wanted]
    results["cases"] = dict(kept)
    bench = Bench(out / "work", options.quick, options.long, peers)
    for place, case in enumerate(cases):
        if case.key not in kept:
            results["cases"][case.key] = run(case, bench)
            results["cases"] = _in_order(results["cases"], options.quick)
            save(results, out)
        seconds = results["cases"][case.key]["seconds"]
        told = "kept" if case.key in kept else results["cases"][case.key].get("failed", f"{seconds:.0f} s")
        print(f"[{place + 1}/{len(cases)}] {case.key}: {told}", file=sys.stderr, flush=True)
    save(results, out)
    write_page(results, out / "suite.html")
    shutil.rmtree(bench.folder, ignore_errors=True)
    failed = [key for key, one in results["cases"].items() if "failed" in one]
    if failed:
        raise SystemExit(f"{len(failed)} cases failed: {', '.join(failed)}")


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for suite.json, suite.html and the scenes")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--resume", action="store_true", help="keep the cases that are in suite.json")
    parser.add_argument(
        "--only", default="", help="workloads, with commas: plsr,svr,forest,cnn,fusion,start,tiles,sizes,memory"
    )
    parser.add_argument("--peers", default="", help=f"with commas: {','.join(PEERS)}; default: all")
    options = parser.parse_args(words)
    known = {case.workload for case in all_cases(quick=False)}
    for given, names in ((options.only, known), (options.peers, set(PEERS))):
        strange = [name for name in given.split(",") if name and name not in names]
        if strange:
            parser.error(f"{', '.join(strange)}: not one of {', '.join(sorted(names))}")
    return options


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of the peers
    main()
