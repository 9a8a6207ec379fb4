"""One fit: select, encode, transform, estimate on the profiles given and no others; and its cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geosoil.config import CovariateConfig, ModelConfig, Study
from geosoil.jobs.dataset import TrainingSet, subset
from geosoil.jobs.pool import run_tasks
from geosoil.models.cnn import PatchCNN
from geosoil.models.forest import Forest
from geosoil.models.transfer import DepthTransfer
from geosoil.prep.covariates import Selection, select_covariates
from geosoil.prep.encode import Encoder
from geosoil.prep.split import random_folds, spatial_folds
from geosoil.prep.target import TargetTransform
from geosoil.types import Estimator, Layers, Predictor, Progress, quiet

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64, Int64

__all__ = ["CrossValidation", "Fitted", "Recipe", "cross_validate", "fit", "folds_of", "recipe_of"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to fit: all choices, no data."""

    model: ModelConfig
    covariates: CovariateConfig
    transform: str
    depth_as_input: bool = False


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit leaves."""

    encoder: Encoder
    transform: TargetTransform
    predictor: Predictor
    selection: Selection

    def scaled(self, raw: Float32, bands: Sequence[str]) -> Float32:
        """Predictions for raw patches (n, B, w, w) with these bands, (n, T), on the transformed scale."""
        place = [list(bands).index(name) for name in self.encoder.bands]
        return self.predictor.predict(self.encoder.encode(raw[:, place], unseen="missing"))


def fit(
    data: TrainingSet,
    rows: Int64,
    recipe: Recipe,
    seed: int,
    progress: Progress = quiet,
    checkpoint: Path | None = None,
) -> Fitted:
    """Fit a recipe on some profiles of a training set.

    Parameters
    ----------
    data : TrainingSet
        With patches at least as wide as the recipe's.
    rows : (n,) int64
        The profiles to fit on. Selection, scaling, transform and early stopping see these only.
    checkpoint : Path, optional
        Folder for the state of networks in training; a fit that finds it goes on.
    """
    data = data.narrow(recipe.model.width)
    layers = subset(data.layers, rows)
    raw = data.raw[rows]
    transform = TargetTransform.fit(layers.value, recipe.transform)
    scaled = Layers(layers.profile, layers.depth_cm, layers.target, transform.forward(layers.value))
    middle = recipe.model.width // 2
    selection = select_covariates(
        raw[:, :, middle, middle],
        data.bands,
        scaled,
        classes=tuple(data.classes),
        min_correlation=recipe.covariates.min_correlation,
        max_correlation=recipe.covariates.max_correlation,
        step=recipe.covariates.step,
        most=recipe.covariates.most,
        seed=seed,
    )
    place = [data.bands.index(name) for name in selection.kept]
    encoder = Encoder.fit(
        raw[:, place, middle, middle],
        selection.kept,
        classes={name: how for name, how in data.classes.items() if name in selection.kept},
        mask_channel=recipe.covariates.mask_channel,
    )
    estimator = _estimator(recipe, encoder, seed, checkpoint)
    predictor = estimator.fit(encoder.encode(raw[:, place]), scaled, data.depths_cm, progress)
    return Fitted(encoder, transform, predictor, selection)


def folds_of(data: TrainingSet, scheme: str, folds: int, seed: int, block_m: float | None = None) -> Int64:
    """The fold of each profile: ``random``, or ``spatial`` in blocks.

    Random folds answer how well new samples among the old ones are predicted, spatial folds how well new areas are.
    """
    if scheme == "random":
        return random_folds(np.arange(len(data)), folds, seed)
    crs = data.geobox.crs
    profiles = (
        data.profiles if crs is not None and crs.projected else data.profiles.to_crs(data.profiles.estimate_utm_crs())
    )
    return spatial_folds(np.asarray(profiles.geometry.x), np.asarray(profiles.geometry.y), folds, seed, block_m=block_m)


def _held_out(
    data: TrainingSet, recipe: Recipe, folds: Int64, fold: int, seed: int, checkpoint: Path | None
) -> tuple[Int64, Float32, Fitted]:
    """Predictions for the profiles of one fold by a fit on the others."""
    rows = np.flatnonzero(folds == fold)
    fitted = fit(data, np.flatnonzero(folds != fold), recipe, seed, checkpoint=checkpoint)
    return rows, fitted.scaled(data.narrow(recipe.model.width).raw[rows], data.bands), fitted


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """What cross-validation leaves.

    Attributes
    ----------
    predicted : (P, T) float64
        Held-out predictions in the property's unit.
    residuals : tuple of (n,) float64
        Observed minus predicted on the transformed scale, one array a depth.
    folds : (P,) int64
        Fold of each profile.
    fits : tuple of Fitted
        One a fold.
    """

    predicted: Float64
    residuals: tuple[Float64, ...]
    folds: Int64
    fits: tuple[Fitted, ...]

    def frame(self, data: TrainingSet) -> pd.DataFrame:
        """One row an observed layer: profile, depth, fold, observed, predicted."""
        layers = data.layers
        return pd.DataFrame(
            {
                "profile": data.profiles["profile"].to_numpy()[layers.profile],
                "depth": [data.depths[place].label for place in layers.target],
                "fold": self.folds[layers.profile],
                "observed": layers.value,
                "predicted": self.predicted[layers.profile, layers.target],
            }
        )


def cross_validate(
    data: TrainingSet,
    recipe: Recipe,
    folds: Int64,
    seed: int,
    *,
    num_workers: int = 1,
    progress: Progress = quiet,
    message: str = "cross-validation",
    checkpoint: Path | None = None,
) -> CrossValidation:
    """Predict each profile by a fit that never saw it.

    The bias correction of a fold's back-transformation uses the residuals of the other folds.
    """
    count = int(folds.max()) + 1
    places = [None if checkpoint is None else checkpoint / f"fold-{fold}" for fold in range(count)]
    tasks = [(data, recipe, folds, fold, seed + fold, places[fold]) for fold in range(count)]
    parts = run_tasks(_held_out, tasks, num_workers=num_workers, progress=progress, message=message)
    scaled = np.full((len(data), len(data.depths)), np.nan)
    for rows, values, _ in parts:
        scaled[rows] = values
    fits = tuple(fitted for _, _, fitted in parts)
    residuals, of_fold = _residuals(data, scaled, folds, fits)
    predicted = np.full_like(scaled, np.nan)
    limits = {"lowest": data.soil_property.lowest, "highest": data.soil_property.highest}
    for fold, fitted in enumerate(fits):
        rows = np.flatnonzero(folds == fold)
        for target in range(len(data.depths)):
            # Only what the fold's own training profiles left, held out in their turn.
            others = residuals[target][of_fold[target] != fold]
            back = fitted.transform.back_table(others, **limits)
            predicted[rows, target] = back(scaled[rows, target].astype(np.float32))
    return CrossValidation(predicted, residuals, folds, fits)


def _residuals(
    data: TrainingSet, scaled: Float64, folds: Int64, fits: Sequence[Fitted]
) -> tuple[tuple[Float64, ...], tuple[Int64, ...]]:
    """Held-out residuals by depth, and the fold that each is from."""
    layers = data.layers
    of_layer = folds[layers.profile]
    observed = np.empty(len(layers))
    for fold, fitted in enumerate(fits):
        here = of_layer == fold
        observed[here] = fitted.transform.forward(layers.value[here])
    left = observed - scaled[layers.profile, layers.target]
    by_depth = [layers.target == target for target in range(len(data.depths))]
    return tuple(left[one] for one in by_depth), tuple(of_layer[one] for one in by_depth)


def recipe_of(study: Study, code: str | None = None) -> Recipe:
    """The recipe of a study, for its property or another one."""
    how = study.how(code)
    return Recipe(
        model=study.model,
        covariates=study.covariates,
        transform=how.transform or study.declared(code).transform,
        depth_as_input=study.depths.method == "raw",
    )


def _estimator(recipe: Recipe, encoder: Encoder, seed: int, checkpoint: Path | None) -> Estimator:
    """The estimator that a recipe names, with the encoder's class columns."""
    if checkpoint is not None:
        checkpoint.mkdir(parents=True, exist_ok=True)
    model = recipe.model
    if model.kind == "rf":
        return Forest(trees=model.trees, seed=seed, depth_as_input=recipe.depth_as_input)
    common: dict[str, Any] = {
        "patch": model.patch,
        "epochs": model.epochs,
        "patience": model.patience,
        "batch": model.batch,
        "learning_rate": model.learning_rate,
        "weight_decay": model.weight_decay,
        "dropout": model.dropout,
        "members": model.members,
        "augment": model.augment,
        "embeddings": encoder.embedded_columns,
        "seed": seed,
        "device": model.device,
        "checkpoint": checkpoint,
    }
    if model.kind == "transfer":
        return DepthTransfer(frozen=model.frozen, tune_learning_rate=model.tune_learning_rate, **common)
    kind = "pretrained" if model.kind == "cnn" and recipe.depth_as_input else model.kind
    return PatchCNN(kind=kind, **common)
