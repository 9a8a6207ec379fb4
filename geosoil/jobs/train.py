"""`geosoil train`: a study in, a model file out, with honest scores inside."""

from __future__ import annotations

import hashlib
import logging
import platform
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np

import geosoil
from geosoil.config import Study, load_study
from geosoil.errors import InputError, UsageError
from geosoil.io.atomic import check_output, output_error
from geosoil.io.qgis import write_samples
from geosoil.jobs.counts import counts_of, say_counts
from geosoil.jobs.dataset import TrainingSet, build
from geosoil.jobs.fit import Fitted, cross_validate, fit, folds_of, recipe_of
from geosoil.jobs.provenance import created_now
from geosoil.jobs.reading import study_files
from geosoil.models.bundle import Bundle, Card, PropertyCard
from geosoil.models.loop import device_of
from geosoil.report.training import write_training
from geosoil.score import score_table
from geosoil.soil import Depth
from geosoil.types import PathLike, Progress, quiet

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["check_outputs", "summary", "train"]

log = logging.getLogger(__name__)


def train(
    study: Study | PathLike,
    output: PathLike | None = None,
    *,
    samples: gpd.GeoDataFrame | None = None,
    scene: xr.DataArray | None = None,
    report: PathLike | None = None,
    predictions: PathLike | None = None,
    overwrite: bool = False,
    resume: bool = False,
    num_workers: int = 1,
    progress: Progress = quiet,
) -> Bundle:
    """Train the model of a study.

    The scores in the model come from cross-validation by profile, in which selection, scaling, transform and early
    stopping saw the training folds alone. The model itself is then fitted on all profiles.

    Parameters
    ----------
    study : Study or path
        What to train, on what.
    output : path, optional
        Model file to write.
    samples, scene : optional
        Objects to use in place of the study's files.
    report : path, optional
        HTML report to write.
    predictions : path, optional
        GeoPackage to write, with the observed and the held-out predicted value of each layer; `geosoil.map` shows it.
    overwrite : bool
        Replace the files that are there.
    resume : bool
        Go on with a training of the same study that was interrupted; its networks end as they would have.
    num_workers : int
        Processes for the folds; the result does not depend on it. By default no process is
        started: a script that asks for more needs ``if __name__ == "__main__":`` round its calls, or each process
        would run it again.
    progress : callable
        ``progress(done, total, message)``.

    Returns
    -------
    Bundle
        The model; `geosoil.map` takes it as it takes the file.

    Raises
    ------
    InputError, UsageError, OutputError
        Where the study, its files or the output cannot be used.

    Examples
    --------
    >>> from geosoil.testing import make_samples, make_scene
    >>> scene = make_scene(shape=(24, 24))
    >>> study = geosoil.Study(
    ...     depths={"intervals": ["0-5", "5-15"]}, model={"kind": "rf", "trees": 5}, validation={"folds": 3}
    ... )
    >>> model = train(study, samples=make_samples(scene, 40), scene=scene)
    >>> [target.stem() for target in model.targets], model.card.counts["profiles"]
    (['soc_0-5cm_mean', 'soc_5-15cm_mean'], 40)
    >>> [row["n"] for row in model.card.properties[0].scores]
    [40.0, 40.0, 80.0]
    """
    study = study if isinstance(study, Study) else load_study(study)
    device_of(study.model.device)  # raises where it is not there, be it needed or not
    check_outputs(output, report, predictions, overwrite=overwrite, inputs=study_files(study, samples, scene))
    data = build(study, samples=samples, scene=scene, progress=progress)
    recipe = recipe_of(study)
    folds = folds_of(data, study.validation.scheme, study.validation.folds, study.seed, study.validation.block_m)
    work = None if output is None else _work_folder(Path(output), study, data, resume=resume)
    with _kept_for_resume(work):
        checked = cross_validate(
            data, recipe, folds, study.seed, num_workers=num_workers, progress=progress, checkpoint=work
        )
        fitted = fit(
            data,
            np.arange(len(data)),
            recipe,
            study.seed,
            _named(progress, "training"),
            None if work is None else work / "all",
        )
    frame = checked.frame(data)
    bundle = Bundle(
        card=_card(study, data, fitted, frame),
        encoder=fitted.encoder,
        predictor=fitted.predictor,
        transforms=(fitted.transform,),
        residuals=checked.residuals,
    )
    if output is not None:
        bundle.save(output, overwrite=overwrite)
    if work is not None:
        shutil.rmtree(work, ignore_errors=True)
    if report is not None:
        write_training(Path(report), bundle.card, data.report, frame, data.soil_property)
    if predictions is not None:
        write_samples(Path(predictions), _points(data, frame), data.geobox.crs)
    return bundle


def _points(data: TrainingSet, frame: pd.DataFrame) -> gpd.GeoDataFrame:
    """Observed and held-out predicted values as points, a row a layer."""
    soil, layers = data.soil_property, data.layers
    depths = [data.depths[place] for place in layers.target]
    return gpd.GeoDataFrame(
        {
            "profile": frame["profile"].astype(str),
            "property": soil.code,
            "depth": frame["depth"],
            "top_cm": [depth.top_cm for depth in depths],
            "bottom_cm": [depth.bottom_cm for depth in depths],
            "observed": frame["observed"],
            "predicted": frame["predicted"],
            "residual": frame["observed"] - frame["predicted"],
            "unit": soil.unit,
            "fold": frame["fold"],
        },
        geometry=data.profiles.geometry.to_numpy()[layers.profile],
        crs=data.profiles.crs,
    )


def check_outputs(
    output: PathLike | None,
    report: PathLike | None,
    predictions: PathLike | None,
    *,
    overwrite: bool,
    inputs: Iterable[object],
) -> None:
    """Refuse files that could not be written, or that stand for something else, before any work.

    Parameters
    ----------
    output, report, predictions : path, optional
        The model, the HTML report and the GeoPackage.
    overwrite : bool
        Whether files of these names may be replaced.
    inputs : iterable
        What the training reads, which is not: see `io.atomic.keep_inputs`.

    Raises
    ------
    UsageError
        ``GS-SUFFIX``.
    OutputError
        As `io.atomic.check_output`.
    """
    inputs = tuple(inputs)
    for path, suffix in ((output, ".gsm"), (report, ".html"), (predictions, ".gpkg")):
        if path is None:
            continue
        if Path(path).suffix.lower() != suffix:
            raise UsageError(
                f"{str(path)!r} does not end in {suffix}, as this file must",
                code="GS-SUFFIX",
                hint=f"name it {Path(path).stem or 'model'}{suffix}",
            )
        check_output(path, overwrite=overwrite, inputs=inputs)


@contextmanager
def _kept_for_resume(work: Path | None) -> Iterator[None]:
    """After a failure, keep the work folder only where a later run can use it: not for data that were refused."""
    try:
        yield
    except BaseException as error:
        if work is not None and (isinstance(error, InputError) or not any(one.is_file() for one in work.rglob("*"))):
            shutil.rmtree(work, ignore_errors=True)
        raise


def _work_folder(output: Path, study: Study, data: TrainingSet, *, resume: bool) -> Path:
    """Where the networks in training are kept, beside the model; of this study on these data and no other."""
    key = hashlib.sha256(f"{study.model_dump_json()} {data.digest}".encode()).hexdigest()[:12]
    work = output.parent / f".geosoil-train-{output.stem}-{key}"
    for other in output.parent.glob(f".geosoil-train-{output.stem}-*"):
        if not resume or other != work:
            shutil.rmtree(other, ignore_errors=True)
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(output, error) from error
    return work


def _named(progress: Progress, name: str) -> Progress:
    """Progress of a fit under one name."""
    return lambda done, total, message: progress(done, total, name)


def _card(study: Study, data: TrainingSet, fitted: Fitted, frame: pd.DataFrame) -> Card:
    meta, _ = fitted.predictor.state()
    west, south, east, north = (float(edge) for edge in data.profiles.total_bounds)
    geobox = data.geobox
    return Card(
        name=study.name,
        model=study.model.kind,
        kind=fitted.predictor.kind,
        properties=(
            PropertyCard.of(data.soil_property, data.depths, fitted.transform, _scores(study, data.depths, frame)),
        ),
        crs=geobox.crs.to_wkt() if geobox.crs is not None else "",
        extent=(west, south, east, north),
        cell=(abs(float(geobox.resolution.x)), abs(float(geobox.resolution.y))),
        encoder=fitted.encoder.to_meta(),
        predictor=meta,
        counts={
            "profiles": len(data),
            "layers": data.report["layers"],
            "folds": study.validation.folds,
            **counts_of(data.report),
        },
        selection={"kept": list(fitted.selection.kept), "dropped": dict(fitted.selection.dropped)},
        settings=study.model_dump(mode="json", include={"model", "covariates", "depths", "validation"}),
        seed=study.seed,
        versions={
            "geosoil": geosoil.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "torch", "scikit-learn")},
        },
        created=created_now(),
    )


def _scores(study: Study, depths: Sequence[Depth], frame: pd.DataFrame) -> tuple[dict[str, Any], ...]:
    """Scores a depth, and over all depths, with the split they come from."""
    table = score_table(frame.assign(model=study.model.kind, scheme=study.validation.scheme, repeat=0))
    split = f"{study.validation.scheme} {study.validation.folds}-fold cross-validation by profile"
    by_depth = {
        str(depth): dict(zip(rows["metric"], rows["mean"], strict=True)) for depth, rows in table.groupby("depth")
    }
    return tuple(
        {"depth": depth, "split": split, **{name: float(value) for name, value in by_depth[depth].items()}}
        for depth in (*(depth.label for depth in depths), "all")
    )


def summary(bundle: Bundle, path: PathLike | None = None) -> str:
    """What was trained and how good it is, for people."""
    card = bundle.card
    soil = card.properties[0]
    unit = "" if soil.unit == "1" else f" {soil.unit}"
    lines = [
        f"{soil.name}: {card.model} model on {card.counts['profiles']} profiles, "
        f"{len(card.encoder['bands'])} covariates, patch {bundle.patch} x {bundle.patch}",
        *say_counts(card.counts),
        f"scores: {soil.scores[0]['split']}" if soil.scores else "no scores",
        f"{'depth':>12}  {'n':>5}  {'RMSE' + (f' [{unit.strip()}]' if unit else ''):>14}  {'R2':>6}  {'CCC':>6}",
    ]
    for row in soil.scores:
        lines.append(
            f"{row['depth']:>12}  {row['n']:>5.0f}  {row['RMSE']:>14.3g}  {row['R2']:>6.3f}  {row['CCC']:>6.3f}"
        )
    if path is not None:
        lines.append(f"written: {path}")
    return "\n".join(lines)
