"""Models and a scene brought together: every check that needs no pixel."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import xarray as xr

from geosoil.bands import Bands, match_bands
from geosoil.errors import InputError, UsageError, listing
from geosoil.io.addresses import is_remote
from geosoil.io.raster import Source, open_scene
from geosoil.jobs.task import Task, Unseen
from geosoil.models.bundle import Bundle, load_model
from geosoil.types import PathLike

__all__ = ["Models", "Scene", "prepare"]

log = logging.getLogger(__name__)

Models = Bundle | PathLike | Sequence[Bundle | PathLike]
Scene = Source | Sequence[Source]


def prepare(
    models: Models,
    scene: Scene,
    statistics: Sequence[str],
    band_map: Mapping[str, str] | None,
    align: PathLike | None,
    crs: str | None,
    unseen: Unseen,
) -> tuple[Task, xr.DataArray]:
    """Open the scene, load the models, and check all that can be checked before the first tile.

    Returns
    -------
    task : Task
        The models with the places of their bands.
    stack : DataArray
        The scene, with the bands that the models take.

    Raises
    ------
    InputError, ModelError
        As `open_scene`, `load_model` and `match_bands`.
    UsageError
        ``GS-MODELS-NONE``, ``GS-MODELS-TWICE``, ``GS-STATISTIC``.
    """
    bundles = _load(models)
    stack = _open(scene, bundles, band_map or {}, align, crs)
    stack, places = _needed(stack, bundles, band_map or {})
    halo = max(bundle.patch for bundle in bundles) // 2
    task = Task(tuple(bundles), places, halo, tuple(statistics), unseen)
    _check_outputs(task)
    task.warm_up()
    _compare_cells(bundles, stack)
    return task, stack


def _load(models: Models) -> list[Bundle]:
    several = models if isinstance(models, Sequence) and not isinstance(models, str) else [models]
    if not several:
        raise UsageError("no model is given", code="GS-MODELS-NONE")
    return [one if isinstance(one, Bundle) else load_model(one) for one in several]


def _open(
    scene: Scene, bundles: Sequence[Bundle], band_map: Mapping[str, str], align: PathLike | None, crs: str | None
) -> xr.DataArray:
    """The scene, with the models' class bands marked so that aligning does not mix their codes."""
    classes = {
        band_map.get(name, name)
        for bundle in bundles
        for name, codes in zip(bundle.bands, bundle.encoder.categories, strict=True)
        if codes is not None
    }
    source = _absolute(scene)
    try:
        return open_scene(source, align=align, crs=crs, classes=sorted(classes))
    except InputError as error:
        if error.code != "GS-BANDS-UNKNOWN":
            raise
        # Matching the models' bands says better what is missing.
        return open_scene(source, align=align, crs=crs)


def _absolute(scene: Scene) -> Scene:
    """Local paths made absolute: the workers of a cluster have other working folders."""
    if isinstance(scene, Sequence) and not isinstance(scene, str):
        return [_absolute_source(one) for one in scene]
    return _absolute_source(scene)


def _absolute_source(source: Source) -> Source:
    if not isinstance(source, (str, Path)):
        return source
    text = str(source)
    if not text:
        raise InputError("the scene has no name", code="GS-FILE-MISSING", hint="name a file, a folder or a pattern")
    return text if is_remote(text) else str(Path(text).expanduser().absolute())


def _needed(
    stack: xr.DataArray, bundles: Sequence[Bundle], band_map: Mapping[str, str]
) -> tuple[xr.DataArray, tuple[tuple[int, ...], ...]]:
    """The scene with the bands that any model takes, and for each model where its own are among them."""
    offered = Bands.of(stack).names
    stray = [name for name in band_map if all(name not in bundle.bands for bundle in bundles)]
    if stray:
        match_bands(offered, bundles[0].bands, band_map=band_map)  # raises, and says which bands there are
    found = [
        match_bands(
            offered,
            bundle.bands,
            band_map={name: other for name, other in band_map.items() if name in bundle.bands},
            model=f"model {bundle.card.name!r}",
        )
        for bundle in bundles
    ]
    union = sorted({place for places in found for place in places})
    where = {place: row for row, place in enumerate(union)}
    # Not isel with a list: dask would then read all bands of a chunk.
    chosen = open_scene(stack, bands=[offered[place] for place in union])
    return chosen, tuple(tuple(where[place] for place in places) for places in found)


def _check_outputs(task: Task) -> None:
    """Refuse models that would write the same file, or none."""
    if not task.statistics:
        raise UsageError("no statistic is given", code="GS-STATISTIC", hint="give mean, or quantiles such as Q0.05")
    stems = [output.stem for output in task.outputs]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise UsageError(
            f"two models make the same map: {listing(twice, 3)}", code="GS-MODELS-TWICE", hint="leave one of them out"
        )


def _compare_cells(bundles: Sequence[Bundle], stack: xr.DataArray) -> None:
    """Warn where patches cover another area than in training."""
    affine = stack.odc.geobox.affine
    for bundle in bundles:
        trained = float(bundle.card.cell[0])
        if bundle.patch > 1 and trained > 0 and not 0.95 < abs(affine.a) / trained < 1.05:
            log.warning(
                "the scene's cells are %g wide, those that model %r was trained on %g: its patches of %d x %d cells "
                "cover another area",
                abs(affine.a),
                bundle.card.name,
                trained,
                bundle.patch,
                bundle.patch,
            )
