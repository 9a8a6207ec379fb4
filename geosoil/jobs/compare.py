"""`geosoil compare`: models on the same folds, with their ablations, as tables, plots and a report."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geosoil.config import ModelConfig, Study, load_study
from geosoil.errors import InputError, listing
from geosoil.grid.patches import extract_patches
from geosoil.io.atomic import replacing
from geosoil.io.raster import open_scene
from geosoil.jobs.compare_spectra import compare_spectra
from geosoil.jobs.compare_transfer import compare_transfer
from geosoil.jobs.comparison import Comparison, check_folder, prepare_folder, write_scores, write_table
from geosoil.jobs.dataset import TrainingSet, build
from geosoil.jobs.fit import Recipe, cross_validate, folds_of, recipe_of
from geosoil.jobs.pool import run_tasks
from geosoil.jobs.reading import study_files
from geosoil.models.loop import device_of
from geosoil.report.comparison import write_comparison
from geosoil.report.spectra_comparison import HEADS, STUDIES
from geosoil.score import score_table
from geosoil.types import PathLike, Progress, quiet

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

__all__ = ["Comparison", "Variant", "compare", "summary", "variants_of"]

log = logging.getLogger(__name__)

#: How reports call the models.
LABELS = {"rf": "RF", "cnn": "CNN", "mtcnn": "MT-CNN", "transfer": "Depth transfer"}


@dataclass(frozen=True, slots=True)
class Variant:
    """One line of the comparison: a recipe, and the question that it belongs to.

    `study` is ``models`` for the main table, else the ablation: ``frozen``, ``patch`` or ``covariates``; `level` is
    then the number that is varied.
    """

    label: str
    recipe: Recipe
    study: str = "models"
    level: int = 0


def variants_of(study: Study, bands: int) -> list[Variant]:
    """All that a study's comparison runs, the main models first."""
    model, config = study.model, study.compare
    base = recipe_of(study, study.property)
    found = [Variant(LABELS[kind], _with(base, kind=kind)) for kind in config.models]
    found += [
        Variant(f"Depth transfer, {level} frozen", _with(base, kind="transfer", frozen=level), "frozen", level)
        for level in config.frozen
    ]
    found += [
        Variant(f"{LABELS[model.kind]}, {width} x {width}", _with(base, patch=width), "patch", width)
        for width in sorted({*config.patches, *((model.patch,) if config.patches else ())})
        if model.kind != "rf"  # which looks at the cell alone
    ]
    if config.covariate_curve:
        for count in _counts(bands):
            covariates = base.covariates.model_copy(
                update={"most": count, "step": 0, "min_correlation": 0.0, "max_correlation": 1.0}
            )
            recipe = Recipe(
                _with(base, kind="rf").model, covariates, base.transform, depth_as_input=base.depth_as_input
            )
            found.append(Variant(f"RF, {count} covariates", recipe, "covariates", count))
    return found


def _with(recipe: Recipe, **changes: Any) -> Recipe:
    model = ModelConfig.model_validate({**recipe.model.model_dump(), **changes})
    return Recipe(model, recipe.covariates, recipe.transform, depth_as_input=recipe.depth_as_input)


def _counts(bands: int) -> list[int]:
    """Numbers of covariates for the curve: all of a short stack, tens of a long one."""
    if bands <= 10:
        return list(range(1, bands + 1))
    if bands <= 30:
        return sorted({1, 2, 3, *range(5, bands, 3), bands})
    return sorted({1, 5, *range(10, bands, 10), bands})


def compare(
    study: Study | PathLike,
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
    """Run all models of a study on the same folds.

    Of a study with ``[spectra]``, all spectra and regressions; of one with ``[library]``, all ways to use it.

    Folds are by profile. Random folds tell how well new samples among the old ones are predicted, spatial folds how
    well new areas are. Everything that is fitted is fitted on the training folds alone. The ablations run on the
    first repeat of the first scheme.

    Parameters
    ----------
    study : Study or path
        What to compare, on what.
    out : path
        Folder for ``scores.csv``, ``scores.json``, ``predictions.csv``, plots and ``report.html``.
    num_workers : int
        Processes; results do not depend on it. By default no process is
        started: a script that asks for more needs ``if __name__ == "__main__":`` round its calls, or each process
        would run it again.
    resume : bool
        Keep the cross-validations that an interrupted run left.

    Raises
    ------
    OutputError
        ``GS-OUTPUT-EXISTS``: the folder holds a comparison already.
    """
    study = study if isinstance(study, Study) else load_study(study)
    if study.spectra is not None and study.library is None:
        return compare_spectra(
            study,
            out,
            samples=samples,
            scene=scene,
            laboratory=laboratory,
            satellite=satellite,
            num_workers=num_workers,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
        )
    if study.library is not None:
        return compare_transfer(
            study,
            out,
            samples=samples,
            scene=scene,
            laboratory=laboratory,
            satellite=satellite,
            library=library,
            num_workers=num_workers,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
        )
    device_of(study.model.device)  # raises where it is not there, be it needed or not
    read = study_files(study, samples, scene)
    folder = check_folder(Path(out), free=not (overwrite or resume), inputs=read)
    codes = tuple(dict.fromkeys((study.property, *study.compare.properties)))
    sets: dict[str, TrainingSet] = {}
    widest = max(study.model.patch, *study.compare.patches, 1)
    for code in codes:
        sets[code] = build(study, code, samples=samples, scene=scene, patch=widest, progress=progress)
    places = pd.concat([_places(study, code, data) for code, data in sets.items()])
    # Only now: data that cannot be used leave nothing behind.
    prepare_folder(folder, resume=resume)
    frames = [
        _run(study, code, data, folder, num_workers, progress, main=code == study.property)
        for code, data in sets.items()
    ]
    predictions = pd.concat(frames, ignore_index=True)
    predictions = predictions.merge(places, on=["property", "profile"], how="left")
    scores = _scores(predictions)
    write_table(folder, "predictions.csv", predictions)
    write_scores(folder, scores)
    progress(0, 1, "plots and report")
    write_comparison(folder, study.name, {code: one.soil_property for code, one in sets.items()}, predictions, scores)
    progress(1, 1, "plots and report")
    return Comparison(folder, predictions, scores)


def _run(
    study: Study,
    code: str,
    data: TrainingSet,
    folder: Path,
    num_workers: int,
    progress: Progress,
    *,
    main: bool,
) -> pd.DataFrame:
    """All cross-validations of one property."""
    config, digest = study.compare, data.digest
    tasks = []
    for variant in variants_of(_for(study, code), len(data.bands)):
        if not main and variant.study != "models":
            continue
        first = variant.study != "models"
        for scheme in config.schemes[:1] if first else config.schemes:
            for repeat in range(1 if first else config.repeats):
                tasks.append((data, digest, variant, scheme, config.folds, repeat, study, folder / "parts"))
    message = f"comparing on {data.soil_property.name.lower()}"
    frames = run_tasks(_cross_validate, tasks, num_workers=num_workers, progress=progress, message=message)
    frame = pd.concat(frames, ignore_index=True)
    frame.insert(0, "property", code)
    return frame


def _for(study: Study, code: str) -> Study:
    return study.model_copy(update={"property": code})


def _cross_validate(
    data: TrainingSet, digest: str, variant: Variant, scheme: str, folds: int, repeat: int, study: Study, parts: Path
) -> pd.DataFrame:
    """One variant on one partition; kept on disk, so that a run can go on where it stopped."""
    seed = study.seed + 1000 * repeat
    key = f"{data.soil_property.code} {variant} {scheme} {folds} {seed} {study.validation.block_m} {digest}"
    part = parts / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.parquet"
    if part.exists():
        return pd.read_parquet(part)
    partition = folds_of(data, scheme, folds, seed, study.validation.block_m)
    frame = cross_validate(data, variant.recipe, partition, seed).frame(data)
    for name, value in (
        ("level", variant.level),
        ("model", variant.label),
        ("study", variant.study),
        ("repeat", repeat),
        ("scheme", scheme),
    ):
        frame.insert(0, name, value)
    with replacing(part) as temporary:
        frame.to_parquet(temporary, index=False)
    return frame


def _places(study: Study, code: str, data: TrainingSet) -> pd.DataFrame:
    """Where each profile lies, and its zone."""
    zones = _zone_of(study, data) if study.compare.zones else ""
    return pd.DataFrame(
        {"property": code, "profile": data.profiles["profile"], "x": data.x, "y": data.y, "zone": zones}
    )


def _zone_of(study: Study, data: TrainingSet) -> Sequence[str]:
    zones = str(study.compare.zones)
    if zones in data.profiles.columns:
        return [str(value) if pd.notna(value) else "none" for value in data.profiles[zones]]
    if not Path(zones).suffix:
        raise InputError(
            f"zones {zones!r} is neither a column of the samples nor a raster",
            code="GS-ZONES",
            details=[f"columns: {listing([str(c) for c in data.profiles.columns])}"],
        )
    raster = open_scene(zones)
    if raster.sizes["band"] > 1:
        raise InputError(
            f"zone raster {Path(zones).name} has {raster.sizes['band']} bands, and one is needed",
            code="GS-ZONES",
            details=[f"bands: {listing([str(name) for name in raster['band'].values])}"],
            hint="write the band with the zones to a file of its own",
        )
    points = data.profiles.to_crs(raster.odc.geobox.crs.to_wkt()).geometry
    values = extract_patches(raster, np.asarray(points.x), np.asarray(points.y), 1)[:, 0, 0, 0]
    odd = values[np.isfinite(values) & (values != np.round(values))]
    if odd.size:
        raise InputError(
            f"zone raster {Path(zones).name} holds quantities, not zones: {odd[0]:g} is not a whole number",
            code="GS-ZONES",
        )
    return [f"{value:g}" if np.isfinite(value) else "none" for value in values]


def _scores(predictions: pd.DataFrame) -> pd.DataFrame:
    """One score table for each property and study."""
    tables = []
    pairs = predictions[["property", "study"]].drop_duplicates()
    for code, question in pairs.itertuples(index=False):
        frame = predictions[(predictions["property"] == code) & (predictions["study"] == question)]
        table = score_table(frame)
        table.insert(0, "study", question)
        table.insert(0, "property", code)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def summary(found: Comparison) -> str:
    """RMSE of every model by depth, and of ablations on spectra, mean and SD over repeats, for people."""
    lines = []
    scores = found.scores[found.scores["study"].isin(["models", *STUDIES]) & (found.scores["metric"] == "RMSE")]
    for (question, code, scheme), rows in scores.groupby(["study", "property", "scheme"], sort=False):
        lines.append(f"{code}, {scheme} folds{_asked(found, str(question))}: RMSE, mean and SD over repeats")
        texts = [
            f"{m:.3g}" + (f" ± {s:.2g}" if pd.notna(s) else "") for m, s in zip(rows["mean"], rows["sd"], strict=True)
        ]
        wide = rows.assign(text=texts)
        table = wide.pivot_table(index="model", columns="depth", values="text", aggfunc="first", sort=False)
        lines.append(table.to_string())
        lines.append("")
    lines.append(f"tables, plots and report: {found.folder}")
    return "\n".join(lines)


def _asked(found: Comparison, question: str) -> str:
    """What an ablation is of, with its regression; nothing for the main table."""
    if question not in STUDIES:
        return ""
    heads = found.predictions.loc[found.predictions["study"] == question, "head"].unique()
    return f", {STUDIES[question][0].lower()} ({', '.join(HEADS[head] for head in heads)})"
