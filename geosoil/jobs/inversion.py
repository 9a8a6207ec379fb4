"""Models of spectra fitted on the samples given and no others, and their cross-validation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.config import FusionConfig, InvertConfig, Study
from geosoil.errors import InputError
from geosoil.jobs.pairs import PairSet
from geosoil.jobs.pool import run_tasks
from geosoil.models.fusion import FusionSettings, Translator, fit_translator
from geosoil.models.heads import HeadSettings, fit_head
from geosoil.models.spectral import SpectralPredictor, TargetHead
from geosoil.prep.cars import Cars, select
from geosoil.prep.spectra import Preprocess
from geosoil.prep.split import random_folds, spatial_folds
from geosoil.prep.target import TargetTransform
from geosoil.types import Progress, quiet

if TYPE_CHECKING:
    from geosoil.types import Float64, Int64

__all__ = [
    "FittedSpectra",
    "SpectraValidation",
    "SpectralRecipe",
    "TrainingFits",
    "cross_validate_spectra",
    "folds_of_pairs",
]

log = logging.getLogger(__name__)

#: Fewer samples cannot be split into folds that mean anything.
LEAST_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class SpectralRecipe:
    """How to fit a model of spectra: all choices, no data.

    Attributes
    ----------
    spectra : str
        What the heads read: ``laboratory``, ``satellite``, ``generated``, or ``mixed`` (satellite and generated).
    head : HeadSettings
        The regression.
    steps : tuple of str
        Preprocessing.
    fusion : FusionSettings
        How spectra are generated; used where they are read.
    selection : Cars or None
        Selection of features, inside the training samples.
    transforms : tuple of str
        One a property.
    """

    spectra: str
    head: HeadSettings
    steps: tuple[str, ...]
    fusion: FusionSettings
    selection: Cars | None
    transforms: tuple[str, ...]

    @property
    def generates(self) -> bool:
        """Whether generated spectra are read."""
        return self.spectra in {"generated", "mixed"}


@dataclass(frozen=True, slots=True)
class FittedSpectra:
    """What a fit leaves.

    Attributes
    ----------
    predictor : SpectralPredictor
    transforms : tuple of TargetTransform
        One a property.
    frequencies : tuple of (F,) float64
        For each property how often a feature was selected over the repeats of the selection.
    """

    predictor: SpectralPredictor
    transforms: tuple[TargetTransform, ...]
    frequencies: tuple[Float64, ...] = ()

    def scaled(self, spectra: Float64) -> Float64:
        """Spectra (n, p) to values (n, T) on the transformed scales."""
        return self.predictor.predict_spectra(spectra)


@dataclass
class TrainingFits:
    """All recipes on one set of training samples; what they share is fitted once.

    Attributes
    ----------
    data : PairSet
    rows : (m,) int64
        The samples to fit on. Nothing else is looked at.
    seed : int
    """

    data: PairSet
    rows: Int64
    seed: int
    _made: dict[Any, Any] = field(default_factory=dict, repr=False)

    def fit(self, recipe: SpectralRecipe) -> FittedSpectra:
        """Fit a recipe."""
        preprocess = self._preprocess(recipe)
        translator = self._translator(recipe) if recipe.generates else None
        features = self._features(recipe)
        heads, transforms, frequencies = [], [], []
        for place, kind in enumerate(recipe.transforms):
            observed = np.isfinite(self.data.values[self.rows, place])
            transform = TargetTransform.fit(self.data.values[self.rows[observed], place], kind)
            y = transform.forward(self.data.values[self.rows[observed], place])
            support, frequency = self._support(recipe, place, features[observed], y)
            head = fit_head(features[observed][:, support], y, self._head(recipe, support), seed=self.seed)
            first = features.shape[1] if recipe.spectra == "generated" else 0
            heads.append(TargetHead(support + first, head, float(y.min()), float(y.max())))
            transforms.append(transform)
            frequencies.append(frequency)
        return FittedSpectra(
            SpectralPredictor(preprocess, translator, tuple(heads)), tuple(transforms), tuple(frequencies)
        )

    def _once(self, key: Any, make: Any) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _given(self, recipe: SpectralRecipe) -> Float64:
        return self.data.of(recipe.spectra)[self.rows]

    def _preprocess(self, recipe: SpectralRecipe) -> Preprocess:
        spectra = "laboratory" if recipe.spectra == "laboratory" else "satellite"
        key = ("preprocess", spectra, recipe.steps)
        found: Preprocess = self._once(
            key, lambda: Preprocess.fit(self._given(recipe), self.data.wavelength_nm, recipe.steps)
        )
        return found

    def _translator(self, recipe: SpectralRecipe) -> Translator:
        """Fitted on the pairs, and on the neighbours that share a laboratory spectrum."""
        found: Translator = self._once(
            ("translator", recipe.steps, recipe.fusion), lambda: self._fit_translator(recipe)
        )
        return found

    def _fit_translator(self, recipe: SpectralRecipe) -> Translator:
        if self.data.laboratory is None:
            raise InputError(
                "laboratory-like spectra cannot be learned without laboratory spectra",
                code="GS-SPECTRA-MISSING",
                hint='name them: laboratory = "spectra.csv" in [spectra]; or take spectra = "satellite" in [invert]',
            )
        beside, owner = self.data.beside(self.rows)
        near = np.vstack([self.data.satellite[self.rows], beside])
        sample = np.concatenate([np.arange(len(self.rows)), owner])
        preprocess = self._preprocess(recipe)
        far = preprocess.apply(self.data.laboratory[self.rows])[sample]
        y = None
        if recipe.fusion.seed_search:
            first = self.data.values[self.rows, 0]
            y = np.where(np.isfinite(first), first, np.nanmean(first))[sample]
        return fit_translator(recipe.fusion, preprocess.apply(near), far, groups=sample, y=y, seed=self.seed)

    def _features(self, recipe: SpectralRecipe) -> Float64:
        """The features of the training samples that a recipe selects from."""

        def make() -> Float64:
            satellite = self._preprocess(recipe).apply(self._given(recipe))
            if not recipe.generates:
                return satellite
            generated = self._translator(recipe).generate(satellite.astype(np.float32)).astype(np.float64)
            return generated if recipe.spectra == "generated" else np.hstack([satellite, generated])

        found: Float64 = self._once(("features", recipe.spectra, recipe.steps, recipe.fusion), make)
        return found

    def _support(self, recipe: SpectralRecipe, place: int, X: Float64, y: Float64) -> tuple[Int64, Float64]:
        """Features that are kept, and how often each was."""
        if recipe.selection is None:
            return np.arange(X.shape[1]), np.ones(X.shape[1])
        key = (
            "support",
            recipe.spectra,
            recipe.steps,
            recipe.fusion,
            recipe.selection,
            place,
            recipe.transforms[place],
        )
        found = self._once(key, lambda: select(X, y, recipe.selection, self.seed))
        return np.flatnonzero(found.support), found.frequency

    def _head(self, recipe: SpectralRecipe, support: Int64) -> HeadSettings:
        return recipe.head


def folds_of_pairs(data: PairSet, scheme: str, folds: int, seed: int, block_m: float | None = None) -> Int64:
    """The fold of each sample: ``random``, or ``spatial`` in blocks."""
    if scheme == "random":
        return random_folds(np.arange(len(data)), folds, seed)
    if data.points is None:
        raise InputError(
            "spatial folds need places, and the spectra come from tables without any",
            code="GS-FOLDS",
            hint='take random folds: scheme = "random", schemes = ["random"]',
        )
    points = data.points if data.points.crs.is_projected else data.points.to_crs(data.points.estimate_utm_crs())
    return spatial_folds(np.asarray(points.geometry.x), np.asarray(points.geometry.y), folds, seed, block_m=block_m)


@dataclass(frozen=True, slots=True)
class SpectraValidation:
    """What the cross-validation of a recipe leaves.

    Attributes
    ----------
    predicted : (n, T) float64
        Held-out predictions in the properties' units.
    residuals : tuple of (m,) float64
        Observed minus predicted on the transformed scale, one array a property.
    folds : (n,) int64
        Fold of each sample.
    fitted : (n_folds,) tuple of FittedSpectra
    inside : list of (n, T) float64
        For each fold the predictions for its own training samples, in the properties' units; NaN for the others.
    """

    predicted: Float64
    residuals: tuple[Float64, ...]
    folds: Int64
    fitted: tuple[FittedSpectra, ...]
    inside: tuple[Float64, ...]


def _held_out(
    data: PairSet, recipes: Sequence[SpectralRecipe], folds: Int64, fold: int, seed: int
) -> list[tuple[Float64, Float64, FittedSpectra]]:
    """For each recipe predictions of one fold by a fit on the others, those of its training samples, and the fit."""
    out, inside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
    fits = TrainingFits(data, inside, seed)
    found = []
    for recipe in recipes:
        fitted = fits.fit(recipe)
        spectra = data.of(recipe.spectra)
        found.append((fitted.scaled(spectra[out]), fitted.scaled(spectra[inside]), fitted))
    return found


def cross_validate_spectra(
    data: PairSet,
    recipes: Sequence[SpectralRecipe],
    folds: Int64,
    seed: int,
    *,
    num_workers: int = 1,
    progress: Progress = quiet,
    message: str = "cross-validation",
) -> list[SpectraValidation]:
    """Predict each sample by fits that never saw it, for several recipes that share what they can.

    The bias correction of a fold's back-transformation uses the residuals of the other folds.
    """
    count = int(folds.max()) + 1
    tasks = [(data, list(recipes), folds, fold, seed + fold) for fold in range(count)]
    parts = run_tasks(_held_out, tasks, num_workers=num_workers, progress=progress, message=message)
    return [_gather(data, folds, [part[place] for part in parts]) for place in range(len(recipes))]


def _gather(data: PairSet, folds: Int64, parts: Sequence[tuple[Float64, Float64, FittedSpectra]]) -> SpectraValidation:
    """The folds of one recipe put together, in the properties' units."""
    fitted = tuple(part[2] for part in parts)
    shape = data.values.shape
    residuals, predicted = np.full(shape, np.nan), np.full(shape, np.nan)
    inside = tuple(np.full(shape, np.nan) for _ in parts)
    for fold, (outer, _, fit) in enumerate(parts):
        for target, transform in enumerate(fit.transforms):
            rows = folds == fold
            residuals[rows, target] = transform.forward(data.values[rows, target]) - outer[:, target]
    for fold, (outer, inner, fit) in enumerate(parts):
        rows = folds == fold
        for target, (transform, soil) in enumerate(zip(fit.transforms, data.properties, strict=True)):
            others = residuals[~rows, target]
            back = transform.back_table(others[np.isfinite(others)], lowest=soil.lowest, highest=soil.highest)
            predicted[rows, target] = back(outer[:, target].astype(np.float32))
            inside[fold][~rows, target] = back(inner[:, target].astype(np.float32))
    left = tuple(one[np.isfinite(one)] for one in residuals.T)
    return SpectraValidation(predicted, left, folds, fitted, inside)


def recipe_of_spectra(
    study: Study, spectra: str | None = None, head: str | None = None, fusion: str | None = None
) -> SpectralRecipe:
    """The recipe of a study, some of its choices changed."""
    config = study.invert
    return SpectralRecipe(
        spectra=spectra or config.spectra,
        head=_head_of(config, head or config.head),
        steps=config.steps,
        fusion=fusion_of(study.fusion, fusion),
        selection=None if config.selection == "none" else Cars(runs=config.cars_runs, repeats=config.cars_repeats),
        transforms=tuple(study.how(code).transform or study.declared(code).transform for code in study.inverted()),
    )


def _head_of(config: InvertConfig, kind: str) -> HeadSettings:
    return HeadSettings(kind=kind, most_components=config.components)


def fusion_of(config: FusionConfig, kind: str | None = None) -> FusionSettings:
    """The fusion that a study asks for, or another kind as suits it."""
    if kind is not None and kind != config.kind:
        return FusionSettings.of(kind)
    return FusionSettings.of(config.kind, **config.changes()) if config.kind else FusionSettings(**config.changes())
