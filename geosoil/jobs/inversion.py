"""Models of spectra fitted on the samples given and no others, and their cross-validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from geosoil.config import FusionConfig, InvertConfig, Study
from geosoil.errors import InputError
from geosoil.jobs.lending import (
    Lent,
    lending_key,
    preprocess_of_library,
    source_of,
    teaches_same,
    transform_of_library,
)
from geosoil.jobs.pairs import PairSet
from geosoil.jobs.pool import run_tasks
from geosoil.models.fusion import FusionSettings, Translator, cross_generate, fit_translator
from geosoil.models.fusion_settings import MOVES_BOTH
from geosoil.models.heads import Head, HeadSettings, fit_head
from geosoil.models.library_heads import TransferSettings, fit_with_library
from geosoil.models.spectral import SpectralPredictor, TargetHead
from geosoil.prep.cars import Cars, select
from geosoil.prep.spectra import Preprocess
from geosoil.prep.split import random_folds, spatial_folds
from geosoil.prep.target import TargetTransform
from geosoil.prep.transform_choice import choose_transform
from geosoil.types import Progress, quiet

if TYPE_CHECKING:
    from geosoil.types import Bool, Float64, Int64

__all__ = [
    "FittedSpectra",
    "SpectraValidation",
    "SpectralRecipe",
    "TrainingFits",
    "cross_validate_spectra",
    "folds_of_pairs",
    "no_laboratory",
    "published_split",
    "recipe_of_spectra",
]

#: Ways of fusion that suit a regression better than the one for all others: see `benchmarks/fusion.py`.
_SUITS = {"svr": "glsw"}
#: Parts of the training samples whose spectra are made by translators that were fitted on the others.
CROSSED_FOLDS = 10


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
    searched : tuple of bool
        For which properties the transform competes with none, inside the training samples; for none where empty.
    calibration : str
        What the generated features of the training samples are. ``generated``: what the translator makes of spectra
        that it was fitted on, which is better than what it makes of others; as published. ``crossed``: made by
        translators that were fitted on other samples. ``laboratory``: the laboratory spectra themselves, which the
        generated ones are like. ``both``: laboratory and crossed, two rows a sample.
    transfer : TransferSettings or None
        How the library helps; None: not at all.
    sources : tuple of str
        Data sets of the library that do; all where none is named.
    """

    spectra: str
    head: HeadSettings
    steps: tuple[str, ...]
    fusion: FusionSettings
    selection: Cars | None
    transforms: tuple[str, ...]
    calibration: str = "both"
    transfer: TransferSettings | None = None
    sources: tuple[str, ...] = ()
    searched: tuple[bool, ...] = ()

    @property
    def generates(self) -> bool:
        """Whether generated spectra are read."""
        return self.spectra in {"generated", "mixed"}

    @property
    def model(self) -> str:
        """What tables call the model: its way of transfer, or its regression."""
        return self.head.kind if self.transfer is None else self.transfer.kind

    def told(self) -> dict[str, Any]:
        """The choices that reports tell, as JSON values."""
        chosen = self.selection
        cars = None if chosen is None else {"mode": chosen.mode, "runs": chosen.runs, "repeats": chosen.repeats}
        return {
            "spectra": self.spectra,
            "head": self.head.kind,
            "steps": list(self.steps),
            "cars": cars,
            "fusion": self.fusion.kind if self.generates else None,
            "transfer": None if self.transfer is None else self.transfer.kind,
            "sources": list(self.sources),
        }


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
    frequencies: tuple[Float64, ...]

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
    pool : (k,) int64, optional
        Samples that translators and selections see, in place of `rows`: for the published protocol, which lets them
        see all, and is optimistic.
    lent : dict
        Networks that were trained on the library, by what they are for: see `lend`.
    """

    data: PairSet
    rows: Int64
    seed: int
    pool: Int64 | None = None
    lent: Lent = field(default_factory=dict)
    _made: dict[Any, Any] = field(default_factory=dict, repr=False)

    def fit(self, recipe: SpectralRecipe) -> FittedSpectra:
        """Fit a recipe."""
        preprocess = self._preprocess(recipe)
        translator = self._translator(recipe) if recipe.generates else None
        heads, transforms, frequencies = [], [], []
        for place in range(len(recipe.transforms)):
            X, y, sample, transform = self._observed(recipe, place)
            support, frequency = self._support(recipe, place)
            head, lowest, highest = self._head(recipe, place, X[:, support], y, sample)
            first = X.shape[1] if recipe.spectra == "generated" else 0
            heads.append(TargetHead(support + first, head, lowest, highest))
            transforms.append(transform)
            frequencies.append(frequency)
        return FittedSpectra(
            SpectralPredictor(preprocess, translator, tuple(heads)), tuple(transforms), tuple(frequencies)
        )

    def _head(
        self, recipe: SpectralRecipe, place: int, X: Float64, y: Float64, sample: Int64
    ) -> tuple[Head, float, float]:
        """The head of a property, and the range of what it was taught."""
        if recipe.transfer is None:
            head = fit_head(X, y, recipe.head, groups=sample, seed=self.seed)
            return head, float(y.min()), float(y.max())
        source = self._once(
            ("source", recipe.steps, recipe.sources, place),
            lambda: source_of(self.data, recipe, place, self._preprocess(recipe)),
        )
        pretrained = self.lent.get(lending_key(recipe, place))
        head = fit_with_library(X, y, source, recipe.transfer, pretrained, groups=sample, seed=self.seed)
        known = np.concatenate([y, source.y]) if source.same and recipe.transfer.kind != "local" else y
        return head, float(known.min()), float(known.max())

    def _once(self, key: Any, make: Any) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _given(self, recipe: SpectralRecipe) -> Float64:
        return self.data.of(recipe.spectra)[self.rows]

    def _preprocess(self, recipe: SpectralRecipe) -> Preprocess:
        found: Preprocess
        if recipe.transfer is not None:
            key = ("preprocess", "library", recipe.steps, recipe.sources)
            found = self._once(key, lambda: preprocess_of_library(self.data, recipe))
            return found
        spectra = "laboratory" if recipe.spectra == "laboratory" else "satellite"
        found = self._once(
            ("preprocess", spectra, recipe.steps),
            lambda: Preprocess.fit(self._given(recipe), self.data.wavelength_nm, recipe.steps),
        )
        return found

    def _translator(self, recipe: SpectralRecipe) -> Translator:
        """Fitted on the pairs, and on the neighbours that share a laboratory spectrum."""
        key = ("translator", recipe.steps, recipe.fusion)
        rows = self.rows if self.pool is None else self.pool
        found: Translator = self._once(key, lambda: self._fit_translator(recipe, rows))
        return found

    def _fit_translator(self, recipe: SpectralRecipe, rows: Int64) -> Translator:
        near, far, sample, y = self._pairs(recipe, rows)
        return fit_translator(recipe.fusion, near, far, groups=sample, y=y, seed=self.seed)

    def _pairs(self, recipe: SpectralRecipe, rows: Int64) -> tuple[Float64, Float64, Int64, Float64 | None]:
        """Preprocessed spectra of samples and of the cells beside them, with the sample that each pair is of."""
        if self.data.laboratory is None:
            raise no_laboratory()
        beside, owner = self.data.beside(rows)
        near = np.vstack([self.data.satellite[rows], beside])
        sample = np.concatenate([np.arange(len(rows)), owner])
        preprocess = self._preprocess(recipe)
        far = preprocess.apply(self.data.laboratory[rows])[sample]
        y = None
        if recipe.fusion.seed_search:
            first = self.data.values[rows, 0]
            y = np.where(np.isfinite(first), first, np.nanmean(first))[sample]
        return preprocess.apply(near), far, sample, y

    def _features(self, recipe: SpectralRecipe) -> tuple[Float64, Int64]:
        """Rows of features to fit on, and the training sample that each is of."""
        if not recipe.generates:
            key = ("satellite", recipe.spectra, recipe.steps)
            satellite = self._once(key, lambda: self._preprocess(recipe).apply(self._given(recipe)))
            return satellite, np.arange(len(self.rows))
        generated = self._once(
            ("generated", recipe.steps, recipe.fusion, recipe.calibration), lambda: self._generated(recipe)
        )
        sample = np.tile(np.arange(len(self.rows)), len(generated) // len(self.rows))
        if recipe.spectra == "generated":
            return generated, sample
        satellite = self._preprocess(recipe).apply(self._given(recipe))
        return np.hstack([satellite[sample], generated]), sample

    def _generated(self, recipe: SpectralRecipe) -> Float64:
        """Generated features of the training samples, or what stands for them."""
        preprocess = self._preprocess(recipe)
        if recipe.calibration == "generated":
            satellite = preprocess.apply(self._given(recipe)).astype(np.float32)
            return self._translator(recipe).generate(satellite).astype(np.float64)
        parts = []
        if recipe.calibration in {"laboratory", "both"}:
            laboratory = preprocess.apply(self.data.of("laboratory")[self.rows])
            if recipe.fusion.kind in MOVES_BOTH:
                laboratory = self._translator(recipe).generate(laboratory.astype(np.float32)).astype(np.float64)
            parts.append(laboratory)
        if recipe.calibration in {"crossed", "both"}:
            parts.append(self._crossed(recipe))
        return np.vstack(parts)

    def _crossed(self, recipe: SpectralRecipe) -> Float64:
        """Each training sample's spectrum as translators make it that did not see the sample."""
        near, far, sample, y = self._pairs(recipe, self.rows)
        made = cross_generate(recipe.fusion, near, far, groups=sample, y=y, folds=CROSSED_FOLDS, seed=self.seed)
        return made[: len(self.rows)].astype(np.float64)

    def _observed(self, recipe: SpectralRecipe, place: int) -> tuple[Float64, Float64, Int64, TargetTransform]:
        """Features, transformed values and sample of each row with a value of a property; and the transform."""
        features, sample = self._features(recipe)
        values = self.data.values[self.rows, place]
        used = np.isfinite(values[sample])
        features, sample = features[used], sample[used]
        if recipe.transfer is not None and teaches_same(self.data):
            transform = transform_of_library(self.data, recipe, place)
        else:
            kind = self._kind(recipe, place, features, sample)
            transform = TargetTransform.fit(values[np.isfinite(values)], kind)
        return features, transform.forward(values[sample]), sample, transform

    def _kind(self, recipe: SpectralRecipe, place: int, features: Float64, sample: Int64) -> str:
        """The kind of a property's transform: that of the recipe, or none where that does better."""
        kind = recipe.transforms[place]
        if not any(recipe.searched[place : place + 1]) or recipe.transfer is not None or kind == "none":
            return kind
        soil = self.data.properties[place]
        key = ("transform", recipe.spectra, recipe.steps, recipe.fusion, recipe.calibration, kind, place)
        found: str = self._once(
            key,
            lambda: choose_transform(
                features,
                self.data.values[self.rows[sample], place],
                ("none", kind),
                lowest=soil.lowest,
                highest=soil.highest,
                groups=sample,
                seed=self.seed,
            ),
        )
        return found

    def _support(self, recipe: SpectralRecipe, place: int) -> tuple[Int64, Float64]:
        """Features that are kept, and how often each was."""
        if self.pool is not None:
            everyone = self._once("pool", lambda: TrainingFits(self.data, self.pool, self.seed))
            found: tuple[Int64, Float64] = everyone._support(recipe, place)
            return found[0], found[1]
        what = (recipe.spectra, recipe.steps, recipe.fusion, recipe.calibration, recipe.selection)
        key = ("support", *what, place, recipe.transforms[place], recipe.searched)
        found = self._once(key, lambda: self._select(recipe, place))
        return found[0], found[1]

    def _select(self, recipe: SpectralRecipe, place: int) -> tuple[Int64, Float64]:
        X, y, sample, _ = self._observed(recipe, place)
        if recipe.selection is None:
            return np.arange(X.shape[1]), np.ones(X.shape[1])
        found = select(X, y, recipe.selection, self.seed, groups=sample)
        return np.flatnonzero(found.support), found.frequency


def no_laboratory() -> InputError:
    """What to say where spectra are to be generated and nothing shows how."""
    return InputError(
        "laboratory-like spectra cannot be learned without laboratory spectra",
        code="GS-SPECTRA-MISSING",
        hint='name them: laboratory = "spectra.csv" in [spectra]; or take spectra = "satellite" in [invert]',
    )


def published_split(values: Float64) -> Bool:
    """The test samples of the published protocol: every third along the sorted target.

    >>> published_split(np.array([5.0, 1.0, 4.0, 2.0, 3.0, 6.0])).tolist()
    [False, False, False, False, True, True]
    """
    test = np.zeros(len(values), np.bool_)
    test[np.argsort(values, kind="stable")[2::3]] = True
    return test


def folds_of_pairs(data: PairSet, scheme: str, folds: int, seed: int, block_m: float | None = None) -> Int64:
    """The fold of each sample: ``random``, or ``spatial`` in blocks.

    Samples of one cell have one spectrum, and share a fold.
    """
    if scheme == "random":
        _, first, place = np.unique(data.satellite, axis=0, return_index=True, return_inverse=True)
        return random_folds(first[place], folds, seed)
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
    left : (n, T) float64
        Observed minus predicted on the transformed scale of the fit that held a sample out.
    folds : (n,) int64
        Fold of each sample.
    fitted : (n_folds,) tuple of FittedSpectra
    inside : list of (n, T) float64
        For each fold the predictions for its own training samples, in the properties' units; NaN for the others.
    """

    predicted: Float64
    left: Float64
    folds: Int64
    fitted: tuple[FittedSpectra, ...]
    inside: tuple[Float64, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """For each property the transform that most folds took."""
        each = zip(*((one.kind for one in fit.transforms) for fit in self.fitted), strict=True)
        return tuple(Counter(kinds).most_common(1)[0][0] for kinds in each)

    @property
    def residuals(self) -> tuple[Float64, ...]:
        """Residuals (m,) on the scale of `kinds`, an array a property, from the folds that took it."""
        return tuple(
            _residuals(self.left[:, place], self.folds, self.fitted, place, kind)
            for place, kind in enumerate(self.kinds)
        )


def _residuals(left: Float64, folds: Int64, fitted: Sequence[FittedSpectra], place: int, kind: str) -> Float64:
    """Those of samples that were held out by fits with a kind of transform: others are on another scale."""
    alike = [fold for fold, fit in enumerate(fitted) if fit.transforms[place].kind == kind]
    return left[np.isfinite(left) & np.isin(folds, alike)]


def _held_out(
    data: PairSet, recipes: Sequence[SpectralRecipe], folds: Int64, fold: int, seed: int, lent: Lent
) -> list[tuple[Float64, Float64, FittedSpectra]]:
    """For each recipe predictions of one fold by a fit on the others, those of its training samples, and the fit."""
    out, inside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
    fits = TrainingFits(data, inside, seed, lent=lent)
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
    lent: Lent | None = None,
    num_workers: int = 1,
    progress: Progress = quiet,
    message: str = "cross-validation",
) -> list[SpectraValidation]:
    """Predict each sample by fits that never saw it, for several recipes that share what they can.

    Samples of fold -1 are never held out. The bias correction of a fold's back-transformation uses the residuals of
    the other folds, whose fits saw this fold's samples; that is one number a property, and its error small beside the
    residuals'. Where there are no other folds, it takes the error of the search inside the training samples.
    """
    count = int(folds.max()) + 1
    lent = {} if lent is None else lent
    tasks = [(data, list(recipes), folds, fold, seed + fold, lent) for fold in range(count)]
    parts = run_tasks(_held_out, tasks, num_workers=num_workers, progress=progress, message=message)
    return [_gather(data, folds, [part[place] for part in parts]) for place in range(len(recipes))]


def _gather(data: PairSet, folds: Int64, parts: Sequence[tuple[Float64, Float64, FittedSpectra]]) -> SpectraValidation:
    """The folds of one recipe put together, in the properties' units."""
    fitted = tuple(part[2] for part in parts)
    shape = data.values.shape
    left, predicted = np.full(shape, np.nan), np.full(shape, np.nan)
    inside = tuple(np.full(shape, np.nan) for _ in parts)
    for fold, (outer, _, fit) in enumerate(parts):
        for target, transform in enumerate(fit.transforms):
            rows = folds == fold
            left[rows, target] = transform.forward(data.values[rows, target]) - outer[:, target]
    for fold, (outer, inner, fit) in enumerate(parts):
        rows = folds == fold
        for target, (transform, soil) in enumerate(zip(fit.transforms, data.properties, strict=True)):
            without = np.where(rows, np.nan, left[:, target])
            others = _residuals(without, folds, fitted, target, transform.kind)
            if not len(others):
                own = transform.forward(data.values[~rows, target]) - inner[:, target]
                others = _expected_residuals(fit.predictor.heads[target].head.rmsecv, own)
            back = transform.back_table(others, lowest=soil.lowest, highest=soil.highest)
            predicted[rows, target] = back(outer[:, target].astype(np.float32))
            inside[fold][~rows, target] = back(inner[:, target].astype(np.float32))
    return SpectraValidation(predicted, left, folds, fitted, inside)


def _expected_residuals(rmsecv: float | None, own: Float64) -> Float64:
    """Residuals that new samples are to be expected to have: normal ones of the search's error, or those of the fit."""
    if rmsecv is None:
        return own[np.isfinite(own)]
    return rmsecv * np.asarray(ndtri((np.arange(99) + 0.5) / 99), np.float64)


def recipe_of_spectra(
    study: Study, spectra: str | None = None, head: str | None = None, fusion: str | None = None
) -> SpectralRecipe:
    """The recipe of a study, some of its choices changed."""
    config = study.invert
    return SpectralRecipe(
        spectra=spectra or config.spectra,
        head=_head_of(config, head or config.head),
        steps=config.steps,
        fusion=fusion_of(study.fusion, fusion, head or config.head),
        selection=_selection_of(config),
        transforms=tuple(study.how(code).transform or study.declared(code).transform for code in study.inverted()),
        calibration=config.calibration,
        searched=tuple(study.how(code).transform is None for code in study.inverted()),
    )


def _selection_of(config: InvertConfig) -> Cars | None:
    if config.selection == "none":
        return None
    if config.selection == "cars-deterministic":  # its paths are all alike
        return Cars(runs=config.cars_runs, mode="deterministic")
    return Cars(runs=config.cars_runs, repeats=config.cars_repeats)


def _head_of(config: InvertConfig, kind: str) -> HeadSettings:
    return HeadSettings(kind=kind, most_components=config.components)


def fusion_of(config: FusionConfig, kind: str | None = None, head: str = "plsr") -> FusionSettings:
    """The fusion that a study asks for, or what suits the regression; or another kind as suits it."""
    own = config.kind or _SUITS.get(head, "ridge")
    return FusionSettings.of(own, **config.changes()) if kind in {None, own} else FusionSettings.of(str(kind))
