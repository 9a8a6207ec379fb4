"""The suite's cases: what is measured together, so that every ratio is of one run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import rasterio.shutil
from inversion import bands_of, make_scene
from memory import Case as Bound
from memory import measure
from rasterio.windows import Window

from . import floors, workloads
from .engine import first_tile, map_scene, profile
from .peers import PEERS, Span, why_not
from .scenes import EDGE, FORMATS, Scene, Scenes
from .workloads import Workload

if TYPE_CHECKING:
    from geosoil.types import Float32

__all__ = ["Bench", "Case", "Setting", "all_cases", "ask_peer"]

#: Values of peers may differ by this share of the map's spread, and by as many steps of float32.
_SPREADS, _STEPS = 1e-4, 8
#: Formats in which R is asked, which takes long.
_TERRA_FORMATS = ("GeoTIFF deflate pixel", "ENVI BIL")
_PLAIN, _PACKED = "GeoTIFF plain band", "GeoTIFF deflate band"
#: Bands, patch, format, edge of the scene, and edge of what peers take of it.
_NETWORKS = (
    (37, 9, _PACKED, 2000, 192),
    (37, 9, "ENVI BIL", 2000, 192),
    (37, 15, _PACKED, 2000, 96),
    (134, 9, _PACKED, 1000, 96),
    (134, 15, _PACKED, 1000, 64),
)
_SIZES = (1000, 2000, 4000, 8000)
_LONG_SIZE = 20_000
#: Models and scenes that are mapped under a limit of the operating system.
_BOUNDS = (("linear", 1000), ("linear", 4000), ("network", 4000))
#: Tiles of 128 cells, 71 x 71.
_MANY_TILES = 9088


@dataclass(frozen=True)
class Bench:
    """Where and how the cases run.

    Attributes
    ----------
    folder : Path
        For scenes, models and maps; some 10 GB.
    quick : bool
        Small scenes and one round.
    long : bool
        The scene of 400 million cells too.
    peers : tuple of str
        Those that are asked.
    """

    folder: Path
    quick: bool
    long: bool
    peers: tuple[str, ...]

    @cached_property
    def scenes(self) -> Scenes:
        """The scenes."""
        return Scenes(self.folder / "scenes")

    @property
    def out(self) -> Path:
        """For maps, which are removed."""
        return self.folder / "maps"

    def model(self, make: Callable[..., Workload], *args: Any) -> Workload:
        """A workload, made once."""
        key = (make.__name__, *args)
        if key not in self._made:
            place = self.folder / "models" / f"{len(self._made)}"
            place.mkdir(parents=True, exist_ok=True)
            for old in place.glob("*.gsm"):
                old.unlink()
            self._made[key] = make(place, *args)
        return self._made[key]

    @cached_property
    def _made(self) -> dict[Any, Workload]:
        return {}


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes
    ----------
    workload : str
        What `--only` selects.
    label : str
        What it is in the page.
    run : callable
        ``run(bench)`` to a record.
    """

    workload: str
    label: str
    run: Callable[[Bench], dict[str, Any]]

    @property
    def key(self) -> str:
        """Its name in the results."""
        return f"{self.workload}: {self.label}"


@dataclass(frozen=True)
class Setting:
    """A workload on a scene.

    Attributes
    ----------
    span : Span
        What peers map of it.
    rounds : (int, int)
        How often ours is run, and the peers are, of which the best counts.
    """

    workload: Workload
    scene: Scene
    span: Span
    rounds: tuple[int, int] = (2, 1)
    left_out: dict[str, str] = field(default_factory=dict)


def all_cases(quick: bool) -> list[Case]:
    """All cases, in order."""
    return list(_quick_cases() if quick else _full_cases())


def _quick_cases() -> Iterator[Case]:
    small: dict[str, Any] = {"edge": 384, "bands": 8}
    for format in ("GeoTIFF deflate band", "ENVI BIL"):
        yield Case("plsr", format, partial(_plsr, format=format, **small))
    yield Case("svr", _PLAIN, partial(_cells, make=workloads.svr, format=_PLAIN, **small))
    yield Case("forest", _PLAIN, partial(_cells, make=workloads.forest, format=_PLAIN, **small))
    yield Case("cnn", f"8 bands, 9 x 9, {_PACKED}", partial(_cnn, bands=8, patch=9, format=_PACKED, edge=256, span=16))
    yield Case("fusion", "330 bands, ENVI BIL", partial(_fusion, shape=(96, 128)))
    yield Case("start", _PACKED, partial(_start, **small))
    yield Case("tiles", "9 tiles of 128", partial(_tiles, **small, source=512))
    yield Case("sizes", "to 0.26 Mpixel", partial(_sizes, edges=(256, 512), bands=8, source=512))
    yield Case("memory", "small", partial(_memory, bounds=(("linear", 256),)))


def _full_cases() -> Iterator[Case]:
    large: dict[str, Any] = {"edge": 2000, "bands": 37}
    for format in FORMATS:
        yield Case("plsr", format, partial(_plsr, format=format, **large))
    yield Case("svr", _PLAIN, partial(_cells, make=workloads.svr, format=_PLAIN, **large))
    for format in (_PLAIN, "ENVI BIL"):
        yield Case("forest", format, partial(_cells, make=workloads.forest, format=format, **large))
    for bands, patch, format, edge, span in _NETWORKS:
        label = f"{bands} bands, {patch} x {patch}, {format}"
        yield Case("cnn", label, partial(_cnn, bands=bands, patch=patch, format=format, edge=edge, span=span))
    yield Case("fusion", "330 bands, ENVI BIL", partial(_fusion, shape=(1000, 1000)))
    yield Case("start", _PACKED, partial(_start, **large))
    yield Case("tiles", "5,041 tiles of 128", partial(_tiles, edge=_MANY_TILES, bands=37, source=2048))
    yield Case("sizes", "from 1 Mpixel", partial(_sizes, edges=_SIZES, bands=37, source=2048))
    yield Case("memory", "37 bands, deflated", partial(_memory, bounds=_BOUNDS))


def _plsr(bench: Bench, format: str, edge: int, bands: int) -> dict[str, Any]:
    """The model for which reading matters; quick enough to be run twice by all."""
    return _cells(bench, workloads.plsr, format, edge, bands, rounds=(2, 2))


def _cells(
    bench: Bench,
    make: Callable[..., Workload],
    format: str,
    edge: int,
    bands: int,
    rounds: tuple[int, int] = (2, 1),
) -> dict[str, Any]:
    """A model of single cells on a format, all of it."""
    scene = bench.scenes.make(format, edge, bands)
    left_out = {} if format in _TERRA_FORMATS else {"R terra": f"asked on {' and '.join(_TERRA_FORMATS)} alone"}
    return _measure(
        bench, Setting(bench.model(make, bands, bench.quick), scene, Span(0, 0, edge, edge), rounds, left_out)
    )


def _cnn(bench: Bench, bands: int, patch: int, format: str, edge: int, span: int) -> dict[str, Any]:
    """Patch networks; peers take a square out of the middle."""
    scene = bench.scenes.make(format, edge, bands)
    first = edge // 2 - span // 2
    return _measure(
        bench, Setting(bench.model(workloads.cnn, bands, patch), scene, Span(first, first, span, span))
    )  # fmt: skip


def _fusion(bench: Bench, shape: tuple[int, int]) -> dict[str, Any]:
    """The chain of spectra on a cube with the bands of GF-5."""
    path = bench.scenes.own("scene-bil.dat", lambda part: make_scene(part, shape, "bil"))
    workload = bench.model(workloads.fusion, path)
    scene = Scene(path, "ENVI BIL", shape, tuple(bands_of(workload.bundle, path)), 1e-4)
    return _measure(bench, Setting(workload, scene, Span(0, 0, *shape)))


def _measure(bench: Bench, setting: Setting) -> dict[str, Any]:
    """Limits, our runs, the peers' and where the time goes."""
    workload, scene = setting.workload, setting.scene
    ours_rounds, peer_rounds = (1, 1) if bench.quick else setting.rounds
    found: dict[str, Any] = {
        "format": scene.format, "rows": scene.shape[0], "columns": scene.shape[1], "bands": len(scene.bands),
        "targets": workload.targets, "patch": workload.patch, "limit": _limits(bench, setting),
    }  # fmt: skip
    ours = [map_scene(workload.model, scene, bench.out) for _ in range(ours_rounds)]
    values = _read_span(ours[-1].pop("maps"), setting.span)
    best = min(ours, key=lambda run: run["run_s"])
    found["ours"] = {name: value for name, value in best.items() if name != "maps"}
    found["ours"]["tiles_s"] = min(run["tiles_s"] for run in ours)
    found["peers"] = {name: ask_peer(bench, name, setting, values, peer_rounds) for name in bench.peers}
    if setting.span.cells == scene.cells and (bench.folder / "peer.tif").exists():
        found["finishing_s"] = _finish(bench.folder / "peer.tif")
    found["profile"] = profile(workload.model, scene, bench.out)
    return found | {
        "shares": _shares(found, scene.cells),
        "ratios": _ratios(found, scene.cells, 0.0),
        "ratios_finished": _ratios(found, scene.cells, found.get("finishing_s", 0.0)),
    }


def _finish(path: Path) -> float:
    """Seconds in which GDAL makes of a peer's last map what ours are: cloud-optimised, deflated, with overviews."""
    start = time.perf_counter()
    cog = path.with_name("cog.tif")
    rasterio.shutil.copy(
        str(path), str(cog), driver="COG", compress="deflate", predictor="yes", blocksize=str(EDGE),
        overview_resampling="average", num_threads="all_cpus",
    )  # fmt: skip
    cog.unlink()
    return time.perf_counter() - start


def _limits(bench: Bench, setting: Setting) -> dict[str, Any]:
    """Seconds that no program can fall below, and what is told beside."""
    scene, workload = setting.scene, setting.workload
    found: dict[str, Any] = {"read_s": floors.reading(scene), "bytes": floors.size_of(scene.path)}
    found["decode_s"] = min(floors.decoding(scene) for _ in range(1 if bench.quick else 2))
    if workload.exponentials:
        found["exponentials_s"] = floors.exponentials(workload.exponentials * scene.cells)
    if workload.products:
        product = floors.multiplying(workload, scene.cells, bench.quick)
        return found | {"compute_s": product.pop("seconds"), **product}
    rates = floors.forest_rate(workload, len(scene.bands), bench.quick)
    return found | {"compute_s": scene.cells / rates["sklearn"], **rates}


def _shares(found: dict[str, Any], cells: int) -> dict[str, float]:
    """Shares of the limit: of the tiles, of the run, and of the tiles where the decoding of the format counts too."""
    limit = max(found["limit"]["read_s"], found["limit"]["compute_s"])
    decoded = max(limit, found["limit"]["decode_s"])
    ours = found["ours"]
    return {
        "tiles": limit / ours["tiles_s"],
        "run": limit / ours["run_s"],
        "tiles_with_decoding": decoded / ours["tiles_s"],
        "mpixels_per_s": cells / ours["run_s"] / 1e6,
    }


def _ratios(found: dict[str, Any], cells: int, finishing_s: float) -> dict[str, float]:
    """How many times as fast as each peer that made the same values, cell by cell; or as it with finished maps."""
    ours = found["ours"]["run_s"] / cells
    peers = found["peers"].items()
    return {name: (one["seconds"] + finishing_s) / one["cells"] / ours for name, one in peers if one.get("counts")}


def ask_peer(bench: Bench, name: str, setting: Setting, values: Float32, rounds: int) -> dict[str, Any]:
    """A peer's time and how far its values are off, or why there are none."""
    why = setting.left_out.get(name) or why_not(name, setting.workload, setting.scene)
    if why:
        return {"left_out": why}
    path = bench.folder / "peer.tif"
    seconds = []
    try:
        for _ in range(1 if name == "R terra" else rounds):
            path.unlink(missing_ok=True)
            start = time.perf_counter()
            told = PEERS[name].run(setting.workload, setting.scene, setting.span, path)
            seconds.append(time.perf_counter() - start if told is None else told)
        with rasterio.open(path) as file:
            off = float(np.abs(file.read() - values).max())
    except Exception as error:  # whatever other people's programs raise is a result here
        path.unlink(missing_ok=True)
        return {"left_out": f"failed: {type(error).__name__}: {str(error)[:200]}"}
    most = max(_SPREADS * float(values.std()), _STEPS * float(np.spacing(np.abs(values).max())))
    own = name == "R terra" and not setting.workload.exact
    return {
        "seconds": min(seconds),
        "cells": setting.span.cells,
        "difference": off,
        "same": off <= most,
        "own_model": own,
        "counts": own or off <= most,
    }


def _read_span(maps: list[str], span: Span) -> Float32:
    """Our maps (T, h, w) where a peer makes them."""
    found = []
    for path in maps:
        with rasterio.open(path) as file:
            found.append(file.read(1, window=Window(span.column, span.row, span.columns, span.rows)))
    return np.stack(found)


def _start(bench: Bench, edge: int, bands: int) -> dict[str, Any]:
    """Seconds from the command to its first tile, for models without and with torch."""
    scene = bench.scenes.make(_PACKED, edge, bands)
    models = {"plsr": bench.model(workloads.plsr, bands, bench.quick)}
    if not bench.quick:
        models["cnn"] = bench.model(workloads.cnn, bands, 9)
    rounds = 1 if bench.quick else 3
    return {name: min(first_tile(one.model, scene, bench.out) for _ in range(rounds)) for name, one in models.items()}


def _tiles(bench: Bench, edge: int, bands: int, source: int) -> dict[str, Any]:
    """The engine's own share of the threads' time with many small tiles of the cheapest model."""
    scene = bench.scenes.repeated(edge, bands, source, 128)
    workload = bench.model(workloads.plsr, bands, bench.quick)
    found = map_scene(workload.model, scene, bench.out, tile_size=128)
    bench.scenes.drop(scene)
    return {name: value for name, value in found.items() if name != "maps"}


def _sizes(bench: Bench, edges: tuple[int, ...], bands: int, source: int) -> dict[str, Any]:
    """Seconds a million cells of the linear model on scenes of all sizes, with tiles of one size."""
    workload = bench.model(workloads.plsr, bands, bench.quick)
    rows = []
    for edge in (*edges, *((_LONG_SIZE,) if bench.long else ())):
        scene = bench.scenes.repeated(edge, bands, source, 256)
        found = min(
            (map_scene(workload.model, scene, bench.out, tile_size=256) for _ in range(3 if edge <= EDGE * 4 else 1)),
            key=lambda run: float(run["tiles_s"]),
        )
        bench.scenes.drop(scene)
        mega = scene.cells / 1e6
        rows.append({"mpixels": mega, "tiles_s": found["tiles_s"] / mega, "run_s": found["run_s"] / mega})
    return {"sizes": rows}


def _memory(bench: Bench, bounds: tuple[tuple[str, int], ...]) -> dict[str, Any]:
    """The command in a process that the operating system ends, or gives no more, above `--max-memory`."""
    folder = bench.folder / "bounded"
    folder.mkdir(parents=True, exist_ok=True)
    found = measure(folder, [Bound(*one) for one in (*bounds, *((("linear", _LONG_SIZE),) if bench.long else ()))])
    shutil.rmtree(folder)
    return found
