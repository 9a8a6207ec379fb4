"""The open spectral library of the benchmarks and examples on real data; and how fast a large made one opens.

    python benchmarks/open_library.py FOLDER          # the real sets, which are not part of geosoil: what is in them
    python benchmarks/open_library.py --made          # 50,000 x 211 and 50,000 x 2,151 made spectra; some minutes
    python benchmarks/open_library.py --made --quick  # small, as the test suite runs it

`open_sets` is what other benchmarks and examples call; `open_library.toml` beside says where the sets lie, in which
units. Times are of `open_library` in a process that had its imports done: from the file, from the cache that is made on
the way, and of reading the same file with pandas alone, in the same run.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from geosoil.io.library import open_library

DESCRIPTION = Path(__file__).with_name("open_library.toml")
SIZES = ((50_000, 10.0), (50_000, 1.0))
#: Bytes of columns that are put to the disk at a time.
ROWS = 2_000


def open_sets(
    folder: Path | str,
    *,
    range_nm: tuple[float, float] | None = (440.0, 2150.0),
    step_nm: float | None = 5.0,
    cache: Path | bool = False,
) -> xr.DataArray:
    """The real sets as one library; those that do not cover the range are left out, and told in the report."""
    return open_library(folder, tables=DESCRIPTION, range_nm=range_nm, step_nm=step_nm, cache=cache)


def make(path: Path, count: int, step_nm: float, seed: int = 0) -> int:
    """A made library of smooth soils, with copies and faults, as Parquet; returns the number of bands."""
    rng = np.random.default_rng(seed)
    wavelength = np.arange(400.0, 2501.0, step_nm) if step_nm > 1 else np.arange(350.0, 2501.0)
    centres = np.array([[480.0], [900], [1415], [1930], [2205], [2345]])
    shapes = np.exp(-(((wavelength - centres) / np.array([[90.0], [150], [40], [60], [40], [30]])) ** 2))
    rise = np.sqrt((wavelength - 340) / 2200)
    amounts = rng.uniform(0.01, 0.08, (count, 6))
    level, slope = rng.uniform(0.08, 0.16, (count, 1)), rng.uniform(0.2, 0.45, (count, 1))
    spectra = np.empty((count, len(wavelength)), np.float32)
    for start in range(0, count, ROWS):
        rows = slice(start, start + ROWS)
        smooth = level[rows] + slope[rows] * rise - amounts[rows] @ shapes
        spectra[rows] = smooth + 2e-4 * rng.standard_normal(smooth.shape)
    copied = rng.choice(count, count // 100, replace=False)
    spectra[copied] = spectra[(copied + count // 2) % count]
    table = pd.DataFrame(spectra, columns=[f"{nm:g}" for nm in wavelength])
    table.insert(0, "clay_pct", 5 + 600 * amounts[:, 4])
    table.insert(0, "soc_g_per_kg", np.exp(1 + 30 * amounts[:, 0]))
    table.insert(0, "id", [f"m{number}" for number in range(count)])
    table.to_parquet(path, index=False)
    return len(wavelength)


def timed(work: Any) -> tuple[Any, float]:
    """What some work gives, and how long it took, s."""
    start = time.perf_counter()
    found = work()
    return found, time.perf_counter() - start


def measure(count: int, step_nm: float) -> dict[str, Any]:
    """Open a made library from its file and from the cache."""
    with tempfile.TemporaryDirectory() as folder:
        path, cache = Path(folder) / "made.parquet", Path(folder) / "cache"
        bands = make(path, count, step_nm)
        open_library(_few(path, Path(folder)), quantity="reflectance")
        _, plain = timed(lambda: pd.read_parquet(path))
        first, opened = timed(lambda: open_library(path, quantity="reflectance"))
        _, kept = timed(lambda: open_library(path, quantity="reflectance", cache=cache))
        again, recalled = timed(lambda: open_library(path, quantity="reflectance", cache=cache))
    if not again.attrs["report"]["cached"] or not np.array_equal(first.values, again.values):
        raise SystemExit("the cache gave another library")
    report = first.attrs["report"]
    return {
        "spectra": count,
        "bands": bands,
        "open_s": round(opened, 2),
        "open_and_cache_s": round(kept, 2),
        "cached_s": round(recalled, 2),
        "pandas_s": round(plain, 2),
        "used": report["used"],
        "duplicated": report["duplicated"],
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def _few(path: Path, folder: Path) -> Path:
    """The first rows, to have everything imported before time is taken."""
    few = folder / "few.parquet"
    pd.read_parquet(path).iloc[:50].to_parquet(few, index=False)
    return few


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", nargs="?", type=Path, help="folder that holds the sets")
    parser.add_argument("--made", action="store_true", help="measure made libraries instead")
    parser.add_argument("--quick", action="store_true", help="small ones")
    options = parser.parse_args()
    if options.made or options.quick:
        sizes = ((600, 10.0),) if options.quick else SIZES
        for size in sizes:
            print(json.dumps(measure(*size)))
        return
    if options.folder is None:
        parser.error("name the folder that holds the sets, or --made")
    library = open_sets(options.folder)
    values = library.attrs["values"]
    table = values.groupby(library["source"].values).count()
    table.insert(0, "spectra", pd.Series(library["source"].values).value_counts())
    print(table.to_string(), file=sys.stdout)
    print(json.dumps({key: one for key, one in library.attrs["report"].items() if key != "tables"}, indent=1))


if __name__ == "__main__":
    main()
