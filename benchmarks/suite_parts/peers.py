"""What people use instead: loops, xarray with dask, Pyspatialml, xbatcher, and R terra; all compute the same values.

Each peer takes a scene and a model as its makers have it, and writes a GeoTIFF with a band a target, as its
documentation shows it; none makes overviews or reads back what it wrote, as `geosoil map` does.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pandas as pd
import rasterio
import xarray as xr
from dask.delayed import delayed
from numpy.typing import NDArray
from rasterio.windows import Window
from threadpoolctl import threadpool_limits

from .scenes import CRS, EDGE, TRANSFORM, Scene
from .workloads import Workload

if TYPE_CHECKING:
    from geosoil.types import Float32

__all__ = ["PEERS", "Peer", "Span", "why_not"]

#: Patches that go through a network at once.
_PATCHES = 4096

_TERRA = """
words <- commandArgs(trailingOnly = TRUE)
suppressMessages(library(terra))
fit_on <- read.csv(words[2])
scene <- rast(words[1])
names(scene) <- head(names(fit_on), -1)
begin <- Sys.time()
if (words[4] == "lm") {
  model <- lm(y ~ ., data = fit_on)
  found <- predict(scene, model, filename = words[3], overwrite = TRUE)
} else {
  suppressMessages(library(ranger))
  model <- ranger(y ~ ., data = fit_on, num.trees = as.integer(words[5]), min.node.size = 1)
  begin <- Sys.time()
  of_cells <- function(model, cells, ...) predict(model, cells, num.threads = 1)$predictions
  found <- predict(scene, model, fun = of_cells, filename = words[3], overwrite = TRUE, cores = 1)
}
cat(as.numeric(difftime(Sys.time(), begin, units = "secs")), "\\n")
"""


@dataclass(frozen=True)
class Span:
    """The part of a scene that a peer maps: all of it for models of cells, a square for patches, which take long."""

    row: int
    column: int
    rows: int
    columns: int

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.rows * self.columns


@dataclass(frozen=True)
class Peer:
    """Another way to make the same map.

    Attributes
    ----------
    run : callable
        ``run(workload, scene, span, path)`` writes the map; gives seconds where it has timed itself, in a process of
        its own, without that process's start.
    needs : tuple of str
        Python packages, or programs for R.
    """

    run: Callable[[Workload, Scene, Span, Path], float | None]
    needs: tuple[str, ...] = ()


def why_not(name: str, workload: Workload, scene: Scene) -> str:
    """Why a peer cannot take a case; empty where it can."""
    missing = [one for one in PEERS[name].needs if one != "Rscript" and importlib.util.find_spec(one) is None]
    if missing:
        return f"{missing[0]} is not installed"
    if name in {"Pyspatialml", "R terra"} and workload.patch > 1:
        return "predicts single cells"
    if name == "Pyspatialml" and scene.path.suffix == ".zarr":
        return "reads what GDAL reads as one raster"
    if name == "R terra":
        return _why_no_terra(workload, scene)
    return ""


def _why_no_terra(workload: Workload, scene: Scene) -> str:
    if workload.fit_on is None:
        return "has no such model at hand"
    if scene.path.suffix == ".zarr":
        return "reads what GDAL reads as one raster"
    program = shutil.which("Rscript")
    if program is None:
        return "R is not installed"
    packages = ["terra"] + ([] if workload.exact else ["ranger"])
    test = f"quit(status = !all(sapply(c({', '.join(map(repr, packages))}), requireNamespace, quietly = TRUE)))"
    found = subprocess.run([program, "-e", test], capture_output=True, check=False)
    return "" if found.returncode == 0 else f"R's {' or '.join(packages)} is not installed"


@contextmanager
def _output(scene: Scene, span: Span, targets: int, path: Path) -> Iterator[Any]:
    """A plain tiled GeoTIFF of the span."""
    profile: dict[str, Any] = {
        "driver": "GTiff", "width": span.columns, "height": span.rows, "count": targets, "dtype": "float32",
        "crs": CRS, "transform": TRANSFORM, "tiled": True, "blockxsize": EDGE, "blockysize": EDGE,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        yield file


def _windows(span: Span, edge: int = EDGE) -> Iterator[Window]:
    """Windows of the scene that cover the span, on the file's own blocks."""
    for row in range(span.row, span.row + span.rows, edge):
        for column in range(span.column, span.column + span.columns, edge):
            yield Window(
                column, row, min(edge, span.column + span.columns - column), min(edge, span.row + span.rows - row)
            )


def _values(raw: NDArray[Any], scene: Scene) -> Float32:
    """Stored numbers as values."""
    values = np.asarray(raw, np.float32)
    return values if scene.scale == 1 else values * np.float32(scene.scale)


def _patches(values: Float32, patch: int) -> Float32:
    """Patches (n, w, w, B) of a part of the scene (B, h + w - 1, W + w - 1)."""
    windows = np.lib.stride_tricks.sliding_window_view(values, (patch, patch), axis=(1, 2))
    return windows.transpose(1, 2, 3, 4, 0).reshape(-1, patch, patch, len(values))


def loop(workload: Workload, scene: Scene, span: Span, path: Path) -> None:
    """Windows read with rasterio, predicted, and written; scikit-learn and torch take all cores."""
    if scene.path.suffix == ".zarr":
        stack = xr.open_zarr(scene.path, consolidated=False, chunks=None)["scene"]
        _loop(workload, scene, span, path, lambda rows, columns: stack[:, slice(*rows), slice(*columns)].values)
        return
    wanted = [place + 1 for place in scene.bands]
    with rasterio.open(scene.path) as file:
        _loop(
            workload, scene, span, path,
            lambda rows, columns: file.read(wanted, window=Window.from_slices(rows, columns)),
        )  # fmt: skip


def _loop(workload: Workload, scene: Scene, span: Span, path: Path, read: Callable[..., NDArray[Any]]) -> None:
    halo = workload.patch // 2
    # Patches of a whole window would not fit in memory.
    edge = EDGE if workload.patch == 1 else 64
    with _output(scene, span, workload.targets, path) as out:
        for window in _windows(span, edge):
            row, column, height, width = window.row_off, window.col_off, window.height, window.width
            values = _values(read((row - halo, row + height + halo), (column - halo, column + width + halo)), scene)
            cells = values.reshape(len(values), -1).T if halo == 0 else _patches(values, workload.patch)
            found = np.asarray(workload.rows(cells), np.float32).T.reshape(-1, height, width)
            out.write(found, window=Window(column - span.column, row - span.row, width, height))


def _lazy(scene: Scene) -> xr.DataArray:
    """The scene as xarray has it: (band, y, x), a chunk a window of the file's blocks."""
    if scene.path.suffix == ".zarr":
        stack: xr.DataArray = xr.open_zarr(scene.path, consolidated=False)["scene"]
        return stack
    wanted = [place + 1 for place in scene.bands]

    def read(window: Window) -> NDArray[Any]:
        with rasterio.open(scene.path) as file:
            return np.asarray(file.read(wanted, window=window))

    with rasterio.open(scene.path) as file:
        dtype = file.dtypes[0]
    rows, columns = scene.shape
    parts = [
        [
            da.from_delayed(delayed(read)(window), (len(wanted), window.height, window.width), dtype)
            for window in _windows(Span(row, 0, min(EDGE, rows - row), columns))
        ]
        for row in range(0, rows, EDGE)
    ]
    return xr.DataArray(da.block(parts), dims=("band", "y", "x"))


def ufunc(workload: Workload, scene: Scene, span: Span, path: Path) -> None:
    """`xarray.apply_ufunc` on dask's threads, one a core; libraries keep to one thread each."""
    lazy = _lazy(scene)
    halo, patch = workload.patch // 2, workload.patch
    rows = slice(span.row - halo, span.row + span.rows + halo)
    part: Any = lazy[:, rows, slice(span.column - halo, span.column + span.columns + halo)]
    dims = ["band"]
    if patch > 1:
        # Chunks whose patches fit in memory.
        part = part.chunk({"band": -1, "y": 16, "x": -1}).rolling(y=patch, x=patch, center=True)
        part = part.construct(y="row", x="column").chunk({"band": -1})
        part = part.isel(y=slice(halo, -halo), x=slice(halo, -halo))
        dims = ["row", "column", "band"]

    def predict(values: NDArray[Any]) -> Float32:
        lead = values.shape[: -len(dims)]
        found = workload.rows(_values(values, scene).reshape(-1, *values.shape[-len(dims) :]))
        return np.asarray(found, np.float32).reshape(*lead, -1)

    made = xr.apply_ufunc(
        predict, part, input_core_dims=[dims], output_core_dims=[["target"]], dask="parallelized",
        output_dtypes=[np.float32], dask_gufunc_kwargs={"output_sizes": {"target": workload.targets}},
    ).transpose("target", "y", "x")  # fmt: skip
    with _one_thread_each(workload), _output(scene, span, workload.targets, path) as out:
        out.write(made.values)


@contextmanager
def _one_thread_each(workload: Workload) -> Iterator[None]:
    """Libraries on one thread a call, where calls are made side by side."""
    import torch

    before, jobs = torch.get_num_threads(), getattr(workload.estimator, "n_jobs", None)
    torch.set_num_threads(1)
    if jobs is not None:
        workload.estimator.n_jobs = 1
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
        if jobs is not None:
            workload.estimator.n_jobs = jobs


@dataclass(frozen=True)
class _Estimator:
    """What Pyspatialml asks of a model."""

    workload: Workload
    scene: Scene

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        """Cells (n, B) to values."""
        found = self.workload.rows(_values(X, self.scene))
        return found[:, 0] if self.workload.targets == 1 else found


def pyspatialml(workload: Workload, scene: Scene, span: Span, path: Path) -> None:
    """`Raster.predict`, block by block of the file."""
    if not hasattr(np, "find_common_type"):
        # NumPy 2 dropped what Pyspatialml 0.22 calls when it opens a file.
        vars(np)["find_common_type"] = lambda types, scalars: np.result_type(*types, *scalars)
    from pyspatialml import Raster

    stack = Raster(str(scene.path))
    if len(scene.bands) < stack.count:
        stack = Raster([layer for place, layer in enumerate(stack.iloc) if place in scene.bands])
    stack.predict(_Estimator(workload, scene), file_path=str(path), dtype="float32", nodata=-9999)


def xbatcher(workload: Workload, scene: Scene, span: Span, path: Path) -> None:
    """Batches of xbatcher: a block of cells each; for patches one a cell, put together by thousands."""
    from xbatcher import BatchGenerator

    lazy, halo = _lazy(scene), workload.patch // 2
    rows = slice(span.row - halo, span.row + span.rows + halo)
    part = lazy[:, rows, slice(span.column - halo, span.column + span.columns + halo)]
    if halo:
        _patch_batches(workload, scene, span, path, BatchGenerator, part.load())
        return
    # Batches are of one size, so that a rest at the edge is taken as what it is.
    with _output(scene, span, workload.targets, path) as out:
        for row in range(0, span.rows, EDGE):
            strip = part[:, row : row + EDGE]
            for start, width in _runs(span.columns):
                batches = BatchGenerator(
                    strip[:, :, start : start + width], {"y": strip.sizes["y"], "x": min(EDGE, width)}
                )
                for place, batch in enumerate(batches):
                    values = _values(batch.values, scene)
                    found = workload.rows(values.reshape(len(values), -1).T)
                    height, edge = values.shape[1:]
                    window = Window(start + place * edge, row, edge, height)
                    out.write(np.asarray(found, np.float32).T.reshape(-1, height, edge), window=window)


def _runs(columns: int) -> Iterator[tuple[int, int]]:
    """First column and width of what whole batches cover, and of the rest."""
    whole = columns // EDGE * EDGE
    yield from ((start, width) for start, width in ((0, whole), (whole, columns - whole)) if width)


def _patch_batches(
    workload: Workload, scene: Scene, span: Span, path: Path, generator: Any, part: xr.DataArray
) -> None:
    patch = workload.patch
    batches = generator(part, {"y": patch, "x": patch}, input_overlap={"y": patch - 1, "x": patch - 1})
    found, held = [], []
    for batch in batches:
        held.append(batch.values)
        if len(held) == _PATCHES:
            found.append(workload.rows(_values(np.stack(held), scene).transpose(0, 2, 3, 1)))
            held = []
    if held:
        found.append(workload.rows(_values(np.stack(held), scene).transpose(0, 2, 3, 1)))
    with _output(scene, span, workload.targets, path) as out:
        out.write(np.asarray(np.concatenate(found), np.float32).T.reshape(-1, span.rows, span.columns))


def terra(workload: Workload, scene: Scene, span: Span, path: Path) -> float:
    """`terra::predict` with `lm`, or with a forest of ranger that it grows itself."""
    assert workload.fit_on is not None
    X, y = workload.fit_on
    table = path.with_suffix(".csv")
    frame = pd.DataFrame(X, columns=[f"b{place}" for place in range(X.shape[1])]).assign(y=y)
    frame.to_csv(table, index=False, float_format="%.17g")
    kind = "lm" if workload.exact else "ranger"
    trees = str(getattr(workload.estimator, "n_estimators", 0))
    words = ["Rscript", "-e", _TERRA, str(scene.path), str(table), str(path), kind, trees]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "R failed")
    return float(done.stdout.split()[-1])


PEERS: dict[str, Peer] = {
    "rasterio loop": Peer(loop),
    "apply_ufunc": Peer(ufunc),
    "Pyspatialml": Peer(pyspatialml, ("pyspatialml",)),
    "xbatcher": Peer(xbatcher, ("xbatcher",)),
    "R terra": Peer(terra, ("Rscript",)),
}
