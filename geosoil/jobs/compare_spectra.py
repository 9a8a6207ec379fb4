"""The comparison of a study of spectra: what each kind of spectrum and regression gives, on the same folds."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geosoil.config import Study
from geosoil.errors import InputError, UsageError
from geosoil.io.atomic import replacing
from geosoil.jobs.comparison import Comparison, check_folder, prepare_folder, write_scores, write_table
from geosoil.jobs.inversion import (
    SpectralRecipe,
    SpectraValidation,
    TrainingFits,
    cross_validate_spectra,
    folds_of_pairs,
    published_split,
    recipe_of_spectra,
)
from geosoil.jobs.invert import fitted_spectra
from geosoil.jobs.lending import Lent
from geosoil.jobs.pairing import build_pairs
from geosoil.jobs.pairs import PairSet
from geosoil.jobs.pool import run_tasks
from geosoil.jobs.reading import study_files
from geosoil.models.fusion import FusionSettings
from geosoil.prep.cars import Cars
from geosoil.prep.kennard_stone import kennard_stone
from geosoil.prep.spectra import Preprocess
from geosoil.report.spectra_comparison import HEADS, OPTIMISTIC, write_spectra_comparison
from geosoil.score import score, score_table
from geosoil.types import PathLike, Progress, quiet

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

    from geosoil.types import Int64

__all__ = [
    "SpectraVariant",
    "compare_spectra",
    "partition",
    "run_variants",
    "schemes_of",
    "scores_of",
    "spectra_variants",
]

log = logging.getLogger(__name__)

#: Fewer samples to test on tell nothing.
LEAST_HELD_OUT = 10
#: Seeds that the published protocol searches here; the paper tried 20,000.
_SEEDS = 200


@dataclass(frozen=True, slots=True)
class SpectraVariant:
    """One line of the comparison, and the question that it belongs to: ``models``, ``fusion``, ``losses``."""

    label: str
    recipe: SpectralRecipe
    study: str = "models"


def spectra_variants(study: Study) -> list[SpectraVariant]:
    """All that a study's comparison runs, the main table first."""
    config = study.compare
    found = [
        SpectraVariant(f"{HEADS[head]}, {spectra}", recipe_of_spectra(study, spectra, head))
        for head in config.heads
        for spectra in config.spectra
    ]
    head = study.invert.head
    for kind in config.fusions:
        recipe = recipe_of_spectra(study, "generated", head, kind)
        found.append(SpectraVariant(f"{kind}, generated", recipe, "fusion"))
        found.append(SpectraVariant(f"{kind}, mixed", replace(recipe, spectra="mixed"), "fusion"))
    if config.losses:
        base = recipe_of_spectra(study, "mixed", head, "vae")
        base = replace(base, calibration="generated")
        for label, changes in _LOSSES.items():
            recipe = replace(base, fusion=FusionSettings.of("vae", **changes))
            found.append(SpectraVariant(label, recipe, "losses"))
    return found


#: The losses of the published fusion, one left out at a time, and one put in.
_LOSSES: dict[str, dict[str, float]] = {
    "MMD + 0.1 SAD + KLD": {},
    "without MMD": {"mmd": 0.0},
    "without SAD": {"sad": 0.0},
    "without KLD": {"kld": 0.0},
    "with squared error": {"mse": 1.0},
}


def compare_spectra(
    study: Study,
    out: PathLike,
    *,
    samples: gpd.GeoDataFrame | None = None,
    scene: xr.DataArray | None = None,
    laboratory: xr.DataArray | None = None,
    satellite: xr.DataArray | None = None,
    num_workers: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = quiet,
) -> Comparison:
    """Run all spectra and regressions of a study on the same folds; see `compare`.

    Translators, selections and searches see the training folds alone. The published protocol, where it is asked for,
    is one split of which they see all samples: it is optimistic, and stands apart.
    """
    read = study_files(study, samples, scene, laboratory, satellite)
    folder = check_folder(Path(out), free=not (overwrite or resume), inputs=read)
    data = build_pairs(
        study, samples=samples, scene=scene, laboratory=laboratory, satellite=satellite, progress=progress
    )
    variants = _possible(spectra_variants(study), data)
    prepare_folder(folder, resume=resume)
    predictions, fits = run_variants(study, data, variants, folder, num_workers=num_workers, progress=progress)
    if study.compare.published:
        made = _published(study, data)
        predictions, fits = pd.concat([predictions, made[0]]), pd.concat([fits, made[1]])
    scores = scores_of(predictions)
    write_table(folder, "predictions.csv", predictions)
    write_table(folder, "fits.csv", fits)
    write_scores(folder, scores)
    progress(0, 1, "plots and report")
    recipe = next((one.recipe for one in variants if one.recipe.spectra == "mixed"), variants[0].recipe)
    shown = fitted_spectra(data, TrainingFits(data, np.arange(len(data)), study.seed).fit(recipe))
    values = {soil: data.values[:, place] for place, soil in enumerate(data.properties)}
    write_spectra_comparison(folder, study.name, values, predictions, fits, scores, shown)
    progress(1, 1, "plots and report")
    return Comparison(folder, predictions, scores)


def run_variants(
    study: Study,
    data: PairSet,
    variants: Sequence[SpectraVariant],
    folder: Path,
    *,
    lent: Lent | None = None,
    num_workers: int,
    progress: Progress,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Held-out predictions and fits of all variants, on the same partitions; parts that are there are kept."""
    config = study.compare
    key = f"{data.digest} {config.folds} {config.local} {study.seed} {study.validation.block_m} {variants}"
    tasks = [
        (data, variants, scheme, repeat, study, folder / "parts", hashlib.sha256(key.encode()).hexdigest(), lent)
        for scheme in schemes_of(study, data)
        for repeat in range(config.repeats)
    ]
    parts = run_tasks(_repeat, tasks, num_workers=num_workers, progress=progress, message="comparing spectra")
    predictions = pd.concat([one for one, _ in parts], ignore_index=True)
    return predictions, pd.concat([one for _, one in parts], ignore_index=True)


def _possible(variants: Sequence[SpectraVariant], data: PairSet) -> list[SpectraVariant]:
    """Without what needs laboratory spectra where there are none."""
    if data.laboratory is not None:
        return list(variants)
    kept = [one for one in variants if one.recipe.spectra == "satellite"]
    if not kept:
        raise UsageError(
            "without laboratory spectra only satellite spectra can be compared",
            code="GS-SPECTRA-MISSING",
            hint='name them: laboratory = "spectra.csv" in [spectra]; or compare.spectra = ["satellite"]',
        )
    log.warning("no laboratory spectra: satellite spectra alone are compared")
    return kept


def schemes_of(study: Study, data: PairSet) -> list[str]:
    """How samples are held out; not in space where they have no places.

    Raises
    ------
    InputError
        ``GS-FOLDS``: nothing but spatial folds is asked for, and there are no places.
    """
    schemes: list[str] = [one for one in study.compare.schemes if one != "spatial" or data.points is not None]
    if not schemes:
        raise InputError(
            "spatial folds need places, and the spectra come from tables without any",
            code="GS-FOLDS",
            details=["compare.schemes: spatial"],
            hint='add a cube under [scene], or take random folds: schemes = ["random"]',
        )
    if len(schemes) < len(study.compare.schemes):
        log.warning("the spectra come from tables without places: no spatial folds")
    return schemes


def _repeat(
    data: PairSet,
    variants: Sequence[SpectraVariant],
    scheme: str,
    repeat: int,
    study: Study,
    parts: Path,
    key: str,
    lent: Lent | None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All variants on one partition; kept on disk, so that a run can go on where it stopped."""
    stem = hashlib.sha256(f"{key} {scheme} {repeat}".encode()).hexdigest()[:20]
    paths = (parts / f"{stem}.parquet", parts / f"{stem}-fits.parquet")
    if all(path.exists() for path in paths):
        return pd.read_parquet(paths[0]), pd.read_parquet(paths[1])
    seed = study.seed + 1000 * repeat
    folds = partition(study, data, scheme, seed)
    checked = cross_validate_spectra(data, [one.recipe for one in variants], folds, seed, lent=lent)
    frames = [_frames(data, variant, found) for variant, found in zip(variants, checked, strict=True)]
    made = [
        pd.concat([one[place] for one in frames], ignore_index=True).assign(scheme=scheme, repeat=repeat)
        for place in range(2)
    ]
    for frame, path in zip(made, paths, strict=True):
        with replacing(path) as part:
            frame.to_parquet(part, index=False)
    return made[0], made[1]


def partition(study: Study, data: PairSet, scheme: str, seed: int) -> Int64:
    """The fold in which each sample is held out, -1 for never.

    ``random`` and ``spatial`` are folds. A ``rounds`` partition holds out a quarter of the samples (He et al. 2025).
    ``kennard-stone`` holds out all but a few that are chosen by their spectra alone (Shen et al. 2022).
    """
    if scheme == "rounds":
        quarters = folds_of_pairs(data, "random", 4, seed)
        return np.where(quarters == 0, 0, -1)
    if scheme == "kennard-stone":
        few = study.compare.local
        if len(data) < few + LEAST_HELD_OUT:
            raise InputError(
                f"{len(data)} samples are too few to choose {few} and to test on the others",
                code="GS-SAMPLES-FEW",
                details=[f"needed: {few + LEAST_HELD_OUT}"],
                hint='take a smaller local under [compare], or schemes = ["random"]',
            )
        steps = study.transfer.steps_of("local")
        spectra = Preprocess.fit(data.satellite, data.wavelength_nm, steps).apply(data.satellite)
        folds = np.zeros(len(data), np.int64)
        folds[kennard_stone(spectra, few)] = -1
        return folds
    return folds_of_pairs(data, scheme, study.compare.folds, seed, study.validation.block_m)


def _frames(data: PairSet, variant: SpectraVariant, found: SpectraValidation) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Held-out predictions of a variant, and what its fits were."""
    told = {
        "study": variant.study,
        "model": variant.label,
        "spectra": variant.recipe.spectra,
        "head": variant.recipe.head.kind,
    }
    predictions, fits = [], []
    for target, soil in enumerate(data.properties):
        observed = data.values[:, target]
        rows = np.flatnonzero(np.isfinite(observed) & np.isfinite(found.predicted[:, target]))
        predictions.append(
            pd.DataFrame(
                {
                    "property": soil.code,
                    **told,
                    "profile": data.names[rows],
                    "depth": data.depth.label,
                    "fold": found.folds[rows],
                    "observed": observed[rows],
                    "predicted": found.predicted[rows, target],
                }
            )
        )
        for fold, (fit, inside) in enumerate(zip(found.fitted, found.inside, strict=True)):
            head = fit.predictor.heads[target]
            there = np.isfinite(inside[:, target]) & np.isfinite(observed)
            scored = score(observed[there], inside[there, target])
            fits.append(
                {
                    "property": soil.code,
                    **told,
                    "fold": fold,
                    "features": len(head.support),
                    **{name: scored[name] for name in ("R2", "RMSE", "MAE", "RPIQ")},
                }
            )
    return pd.concat(predictions, ignore_index=True), pd.DataFrame(fits)


def _published(study: Study, data: PairSet) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The paper's protocol: one split along the sorted target; translator, seeds and bands chosen on all samples."""
    frames = []
    for target, soil in enumerate(data.properties):
        alone = replace(data, properties=(soil,), values=data.values[:, [target]])
        rows = np.flatnonzero(np.isfinite(alone.values[:, 0]))
        test = rows[published_split(alone.values[rows, 0])]
        folds = np.where(np.isin(np.arange(len(data)), test), 0, 1)
        # What heads and spectra share, such as the translator, is fitted once.
        shared = TrainingFits(alone, np.flatnonzero(folds == 1), study.seed, pool=np.arange(len(data)))
        for head in study.compare.heads:
            for spectra in study.compare.spectra:
                frames.append(_published_one(study, shared, spectra, head, target, folds))
    predictions = pd.concat([one for one, _ in frames], ignore_index=True)
    fits = pd.concat([one for _, one in frames], ignore_index=True)
    return predictions.assign(scheme=OPTIMISTIC, repeat=0), fits.assign(scheme=OPTIMISTIC, repeat=0)


def _published_one(
    study: Study, shared: TrainingFits, spectra: str, head: str, target: int, folds: np.ndarray
) -> tuple[pd.DataFrame, pd.DataFrame]:
    recipe = recipe_of_spectra(study, spectra, head)
    recipe = replace(
        recipe,
        fusion=FusionSettings.of("vae", seed_search=_SEEDS),
        calibration="generated",
        selection=None if recipe.selection is None else Cars(runs=recipe.selection.runs),
        transforms=(recipe.transforms[target],),
        searched=(),
    )
    data, train = shared.data, shared.rows
    fit = shared.fit(recipe)
    given = data.of(spectra)
    transform, soil = fit.transforms[0], data.properties[0]
    inside = fit.scaled(given[train])[:, 0]
    left = transform.forward(data.values[train, 0]) - inside
    back = transform.back_table(left[np.isfinite(left)], lowest=soil.lowest, highest=soil.highest)
    predicted, within = np.full((len(data), 1), np.nan), np.full((len(data), 1), np.nan)
    test = folds == 0
    predicted[test, 0] = back(fit.scaled(given[test])[:, 0].astype(np.float32))
    within[train, 0] = back(inside.astype(np.float32))
    held = np.full((len(data), 1), np.nan)
    held[test, 0] = transform.forward(data.values[test, 0]) - fit.scaled(given[test])[:, 0]
    found = SpectraValidation(predicted, held, np.where(test, 0, -1), (fit,), (within,))
    return _frames(data, SpectraVariant(f"{HEADS[head]}, {spectra}", recipe, "published"), found)


def scores_of(predictions: pd.DataFrame) -> pd.DataFrame:
    """One score table for each property and question."""
    tables = []
    for pair, frame in predictions.groupby(["property", "study"], sort=False):
        code, question = (str(one) for one in pair)
        table = score_table(frame)
        table.insert(0, "study", question)
        table.insert(0, "property", code)
        tables.append(table[table["depth"] != "all"])
    return pd.concat(tables, ignore_index=True)
