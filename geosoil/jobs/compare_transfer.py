"""The comparison of a study with a library: what each way to use it gives, on the same held-out samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from geosoil.config import RegressionKind, Study
from geosoil.jobs.compare_spectra import SpectraVariant, partition, run_variants, schemes_of, scores_of
from geosoil.jobs.comparison import Comparison, check_folder, prepare_folder, write_scores, write_table
from geosoil.jobs.inversion import SpectralRecipe
from geosoil.jobs.lending import lend, preprocess_of_library, source_of, taught, teaches_same, transform_of_library
from geosoil.jobs.pairs import PairSet
from geosoil.jobs.reading import study_files
from geosoil.jobs.transfer import build_transfer, recipe_of_transfer
from geosoil.models.library_heads import KINDS, TUNED, localised
from geosoil.models.net_head import NETS
from geosoil.report.spectra_comparison import HEADS
from geosoil.report.transfer import Views, write_transfer
from geosoil.types import PathLike, Progress, quiet

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

__all__ = ["compare_transfer", "transfer_variants"]

#: How tables call the ways; those of the paper by its names (Shen et al. 2022).
LABELS = {
    "local": "Local",
    "library": "Library",
    "spiked": "Spiked",
    "instances": "DTL-I",
    "neighbours": "Memory-based",
    "tuned": "DTL-R",
    "instances-tuned": "DTL-IR",
    "mixture": "Mixture",
}
#: Ways that have a regression of their own.
_OWN_HEAD = frozenset({"spiked", "neighbours", "mixture"})


def transfer_variants(study: Study, data: PairSet) -> list[SpectraVariant]:
    """All that a study's comparison runs, the local models first."""
    same = teaches_same(data)
    kinds = study.compare.transfers or (KINDS if same else ("local", "tuned"))
    found = []
    for kind in kinds:
        for head in _heads(study, kind, same=same):
            for sources, where in _sources(study, kind):
                recipe = recipe_of_transfer(study, data, kind, head, sources)
                label = LABELS[kind] if same else {"local": "Direct", "tuned": "Transfer"}.get(kind, LABELS[kind])
                name = label if kind in _OWN_HEAD else f"{label}, {HEADS[recipe.head.kind]}"
                found.append(SpectraVariant(name + where, recipe))
    return found


def _heads(study: Study, kind: str, *, same: bool) -> Sequence[str | None]:
    """Regressions that a way is tried with; None for its own.

    Where a network learns from another property, one that learns directly is beside it unasked (He et al. 2025).
    """
    if kind in _OWN_HEAD:
        return (None,)
    heads = study.compare.heads
    if not same and "heads" not in study.compare.model_fields_set:
        heads = (*heads, "resnet")
    if kind in TUNED:
        return [head for head in heads if head in NETS] or (None,)
    return [head for head in heads if head in get_args(RegressionKind)]


def _sources(study: Study, kind: str) -> list[tuple[tuple[str, ...], str]]:
    """Data sets that a way is tried with: all, and those of the samples' own country."""
    nearby = () if study.library is None else study.library.nearby
    every: list[tuple[tuple[str, ...], str]] = [((), "")]
    return every if kind == "local" or not nearby else [((), " (all)"), (nearby, " (nearby)")]


def compare_transfer(
    study: Study,
    out: PathLike,
    *,
    samples: gpd.GeoDataFrame | None = None,
    scene: xr.DataArray | None = None,
    laboratory: xr.DataArray | None = None,
    satellite: xr.DataArray | None = None,
    library: xr.DataArray | None = None,
    num_workers: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = quiet,
) -> Comparison:
    """Run all ways to use a library on the same partitions of the samples; see `compare`.

    Selections and searches see the training samples and the library alone. Changes are against the first local model.
    """
    read = study_files(study, samples, scene, laboratory, satellite, library)
    folder = check_folder(Path(out), free=not (overwrite or resume), inputs=read)
    data = build_transfer(
        study,
        samples=samples,
        scene=scene,
        laboratory=laboratory,
        satellite=satellite,
        library=library,
        progress=progress,
    )
    variants = transfer_variants(study, data)
    for scheme in schemes_of(study, data):
        partition(study, data, scheme, study.seed)  # raises where it cannot be made, before anything is trained
    prepare_folder(folder, resume=resume)
    lent = lend(data, [one.recipe for one in variants], study.seed, progress)
    predictions, fits = run_variants(
        study, data, variants, folder, lent=lent, num_workers=num_workers, progress=progress
    )
    scores = scores_of(predictions)
    write_table(folder, "predictions.csv", predictions)
    write_table(folder, "fits.csv", fits)
    write_scores(folder, scores)
    progress(0, 1, "plots and report")
    views = [_views(study, data, variants[0].recipe, place) for place in range(len(data.properties))]
    write_transfer(folder, study.name, predictions, scores, views, data.report.get("library"))
    progress(1, 1, "plots and report")
    return Comparison(folder, predictions, scores)


def _views(study: Study, data: PairSet, recipe: SpectralRecipe, place: int) -> Views:
    """The library and the samples of a property, in the plane in which the library's spectra vary most."""
    preprocess = preprocess_of_library(data, recipe)
    source = source_of(data, recipe, place, preprocess)
    local = np.asarray(preprocess.apply(data.of(recipe.spectra)), np.float64)
    values = data.values[:, place]
    known = np.isfinite(values)
    middle = source.X.mean(axis=0)
    _, _, axes = np.linalg.svd(source.X - middle, full_matrices=False)
    kept = None
    if source.same and recipe.transfer is not None:
        transform = transform_of_library(data, recipe, place)
        kept = localised(local[known], transform.forward(values[known]), source, recipe.transfer, study.seed)
    chosen = None
    if "kennard-stone" in study.compare.schemes:
        chosen = partition(study, data, "kennard-stone", study.seed) < 0
    return Views(
        soil=data.properties[place],
        taught=taught(data, place),
        library=(source.X - middle) @ axes[:2].T,
        local=(local - middle) @ axes[:2].T,
        instances=kept,
        chosen=chosen,
        values=values[known],
        lent=transform_of_library(data, recipe, place).inverse(source.y),
    )
