"""`geosoil invert`: a cube, samples and laboratory spectra in, one model of several properties out."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd

import geosoil
from geosoil.config import Study, load_study
from geosoil.errors import UsageError
from geosoil.io.qgis import write_samples
from geosoil.jobs.counts import counts_of, say_counts
from geosoil.jobs.inversion import (
    FittedSpectra,
    SpectralRecipe,
    SpectraValidation,
    TrainingFits,
    cross_validate_spectra,
    folds_of_pairs,
    no_laboratory,
    recipe_of_spectra,
)
from geosoil.jobs.lending import lend
from geosoil.jobs.pairing import build_pairs, mask_rules
from geosoil.jobs.pairs import PairSet
from geosoil.jobs.provenance import created_now
from geosoil.jobs.reading import study_files
from geosoil.jobs.train import check_outputs
from geosoil.models.bundle import Bundle, Card, PropertyCard
from geosoil.prep.encode import Encoder
from geosoil.report.inversion import write_inversion
from geosoil.score import score_table
from geosoil.types import PathLike, Progress, quiet

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["invert", "summary", "train_spectra"]


def invert(
    study: Study | PathLike,
    output: PathLike | None = None,
    *,
    samples: gpd.GeoDataFrame | None = None,
    scene: xr.DataArray | None = None,
    laboratory: xr.DataArray | None = None,
    satellite: xr.DataArray | None = None,
    report: PathLike | None = None,
    predictions: PathLike | None = None,
    overwrite: bool = False,
    num_workers: int = 1,
    progress: Progress = quiet,
) -> Bundle:
    """Train a model of spectra for the properties of a study.

    Satellite spectra of the samples' cells are made laboratory-like by a translator that is learned from the samples'
    laboratory spectra; bands are selected and properties predicted from what the study asks for (Ou et al.). The scores
    in the model come from cross-validation in which the translator, the selection, all searches and the bias
    correction saw the training samples alone.

    Parameters
    ----------
    study : Study or path
        What to train, on what.
    output : path, optional
        Model file to write.
    samples, scene, laboratory, satellite : optional
        Objects to use in place of the study's files: samples as `open_samples` gives them, a cube as `open_scene`, and
        spectra as `open_spectra`.
    report : path, optional
        HTML report to write.
    predictions : path, optional
        GeoPackage to write, with the observed and the held-out predicted value of each sample; `geosoil.map` shows it.
    overwrite : bool
        Replace the files that are there.
    num_workers : int
        Processes for the folds; the result does not depend on it. A script that asks for more than one needs
        ``if __name__ == "__main__":`` round its calls, or each process would run it again.
    progress : callable
        ``progress(done, total, message)``.

    Returns
    -------
    Bundle
        The model; `geosoil.map` takes it as it takes any other, and maps all its properties in one pass over a cube.

    Raises
    ------
    InputError, UsageError, OutputError
        Where the study, its files or the output cannot be used.
    """
    study = study if isinstance(study, Study) else load_study(study)
    read = study_files(study, samples, scene, laboratory, satellite)
    check_outputs(output, report, predictions, overwrite=overwrite, inputs=read)
    recipe = recipe_of_spectra(study)
    if recipe.generates and laboratory is None and (study.spectra is None or study.spectra.laboratory is None):
        raise no_laboratory()
    data = build_pairs(
        study, samples=samples, scene=scene, laboratory=laboratory, satellite=satellite, progress=progress
    )
    return train_spectra(
        study,
        recipe,
        data,
        output=output,
        report=report,
        predictions=predictions,
        overwrite=overwrite,
        num_workers=num_workers,
        progress=progress,
    )


def train_spectra(
    study: Study,
    recipe: SpectralRecipe,
    data: PairSet,
    *,
    output: PathLike | None,
    report: PathLike | None,
    predictions: PathLike | None,
    overwrite: bool,
    num_workers: int,
    progress: Progress,
) -> Bundle:
    """Cross-validate a recipe on the samples, fit it on all of them, and write what is asked for."""
    if predictions is not None and data.points is None:
        raise UsageError(
            "samples without places cannot be written as points", code="GS-POINTS", hint="leave --predictions out"
        )
    validation = study.validation
    folds = folds_of_pairs(data, validation.scheme, validation.folds, study.seed, validation.block_m)
    lent = lend(data, [recipe], study.seed, progress)
    (checked,) = cross_validate_spectra(
        data, [recipe], folds, study.seed, lent=lent, num_workers=num_workers, progress=progress
    )
    progress(0, 1, "training")
    if any(recipe.searched) and recipe.transfer is None:
        # The transforms that most folds took, so that there are residuals on their scales.
        recipe = replace(recipe, transforms=checked.kinds, searched=())
    fitted = TrainingFits(data, np.arange(len(data)), study.seed, lent=lent).fit(recipe)
    progress(1, 1, "training")
    frame = held_out_frame(data, checked)
    bundle = _bundle(study, recipe, data, fitted, checked, frame)
    if output is not None:
        bundle.save(output, overwrite=overwrite)
    if report is not None:
        write_inversion(Path(report), bundle.card, data.report, frame, data.properties, fitted_spectra(data, fitted))
    if predictions is not None and data.points is not None:
        write_samples(Path(predictions), _points(data, frame), data.points.crs)
    return bundle


def fitted_spectra(data: PairSet, fitted: FittedSpectra) -> dict[str, Any]:
    """Spectra before and after, and which features each property kept, for plots.

    Returns
    -------
    dict
        ``wavelength_nm`` (q,), ``satellite``, ``laboratory``, ``generated`` (n, q) or None, all preprocessed; ``read``,
        which of the first two the model reads;
        ``support`` and ``frequency`` tuples by property of (2 q,) bool and float64: which features are kept, and how
        often the repeats of the selection took them; those of generated spectra come last.
    """
    predictor = fitted.predictor
    read = predictor.preprocess.apply(data.satellite)
    bands = read.shape[1]
    supports, frequencies = [], []
    for head, found in zip(predictor.heads, fitted.frequencies, strict=True):
        kept, often = np.zeros(2 * bands, np.bool_), np.zeros(2 * bands)
        kept[head.support] = True
        # The features of generated spectra alone come after those of the satellite.
        first = bands if len(found) == bands and predictor.translator is not None else 0
        often[first : first + len(found)] = found
        supports.append(kept)
        frequencies.append(often)
    return {
        "wavelength_nm": predictor.preprocess.wavelength_nm,
        "read": _read(data),
        "satellite": None if data.laboratory_alone else read,
        "laboratory": None if data.laboratory is None else predictor.preprocess.apply(data.laboratory),
        "generated": None if predictor.translator is None else predictor.generate(read),
        "support": tuple(supports),
        "frequency": tuple(frequencies),
    }


def _read(data: PairSet) -> str:
    """The kind of the spectra that models read, or make others of."""
    return "laboratory" if data.laboratory_alone else "satellite"


def held_out_frame(data: PairSet, checked: SpectraValidation) -> pd.DataFrame:
    """One row a sample and property: property, profile, depth, fold, observed, predicted."""
    frames = []
    for target, soil in enumerate(data.properties):
        rows = np.flatnonzero(np.isfinite(data.values[:, target]))
        frames.append(
            pd.DataFrame(
                {
                    "property": soil.code,
                    "profile": data.names[rows],
                    "depth": data.depth.label,
                    "fold": checked.folds[rows],
                    "observed": data.values[rows, target],
                    "predicted": checked.predicted[rows, target],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _points(data: PairSet, frame: pd.DataFrame) -> gpd.GeoDataFrame:
    """Observed and held-out predicted values as points."""
    if data.points is None:
        raise ValueError("the samples have no places")
    geometry = data.points.set_index("profile").geometry
    units = {soil.code: soil.unit for soil in data.properties}
    return gpd.GeoDataFrame(
        {
            **frame.to_dict("list"),
            "top_cm": data.depth.top_cm,
            "bottom_cm": data.depth.bottom_cm,
            "residual": frame["observed"] - frame["predicted"],
            "unit": frame["property"].map(units),
        },
        geometry=geometry.loc[frame["profile"]].to_numpy(),
        crs=data.points.crs,
    )


def _bundle(
    study: Study,
    recipe: SpectralRecipe,
    data: PairSet,
    fitted: FittedSpectra,
    checked: SpectraValidation,
    frame: pd.DataFrame,
) -> Bundle:
    meta, _ = fitted.predictor.state()
    encoder = Encoder.identity(data.bands.names, data.satellite)
    rules = mask_rules(study, str(data.report.get("level", "")))
    sections = {"fusion", "spectra", "validation", "invert" if study.library is None else "transfer", "library"}
    settings = {**study.model_dump(mode="json", include=sections), "recipe": recipe.told()}
    if rules is not None:
        settings["masks"] = {name: getattr(rules, name) for name in rules.__dataclass_fields__}
        settings["masked"] = list(data.report.get("masks", ()))
    grid = data.geobox
    card = Card(
        name=study.name,
        model=recipe.model,
        kind=fitted.predictor.kind,
        properties=tuple(
            PropertyCard.of(soil, [data.depth], transform, _scores(study, recipe.model, frame, soil.code))
            for soil, transform in zip(data.properties, fitted.transforms, strict=True)
        ),
        crs=grid.crs.to_wkt() if grid is not None and grid.crs is not None else "",
        extent=_extent(data),
        cell=(abs(float(grid.resolution.x)), abs(float(grid.resolution.y))) if grid is not None else (0.0, 0.0),
        encoder=encoder.to_meta(),
        predictor=meta,
        quantity="reflectance",
        level=str(data.report.get("level", "")),
        wavelength_nm=data.bands.wavelength_nm,
        fwhm_nm=data.bands.fwhm_nm,
        counts={
            "profiles": len(data),
            "folds": study.validation.folds,
            "neighbours": int(data.report.get("neighbours", 0)),
            **_library_counts(data),
            **counts_of(data.report),
        },
        selection=_selection(data, fitted),
        settings=settings,
        seed=study.seed,
        versions={
            "geosoil": geosoil.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "torch", "scikit-learn")},
        },
        created=created_now(),
    )
    return Bundle(card, encoder, fitted.predictor, fitted.transforms, checked.residuals)


def _library_counts(data: PairSet) -> dict[str, Any]:
    """Samples of the library, by data set, and the properties that they teach."""
    if data.library is None:
        return {}
    sets, sizes = np.unique(data.library.source, return_counts=True)
    return {
        "library": len(data.library),
        "library_sets": {str(name): int(size) for name, size in zip(sets, sizes, strict=True)},
        "library_teaches": list(data.library.codes),
    }


def _extent(data: PairSet) -> tuple[float, float, float, float]:
    if data.points is None:
        return (0.0, 0.0, 0.0, 0.0)
    west, south, east, north = (float(edge) for edge in data.points.total_bounds)
    return west, south, east, north


def _scores(study: Study, model: str, frame: pd.DataFrame, code: str) -> list[dict[str, Any]]:
    """The scores of a property, with the split that they come from."""
    scheme = study.validation.scheme
    frame = frame[frame["property"] == code]
    table = score_table(frame.assign(model=model, scheme=scheme, repeat=0))
    split = f"{scheme} {study.validation.folds}-fold cross-validation by sample"
    found = []
    for depth in (*dict.fromkeys(frame["depth"]), "all"):
        rows = table[table["depth"] == depth]
        values = {str(name): float(value) for name, value in zip(rows["metric"], rows["mean"], strict=True)}
        found.append({"depth": depth, "split": split, **values})
    return found


def _selection(data: PairSet, fitted: FittedSpectra) -> dict[str, Any]:
    """Which bands went and why, and which features each property keeps."""
    wavelength = fitted.predictor.preprocess.wavelength_nm
    bands = len(wavelength)
    kept: dict[str, Sequence[str]] = {}
    for soil, head in zip(data.properties, fitted.predictor.heads, strict=True):
        kept[soil.code] = [
            f"{_read(data) if place < bands else 'generated'} {wavelength[place % bands]:.1f} nm"
            for place in head.support.tolist()
        ]
    return {"bands": list(data.report.get("bands", ())), "kept": kept}


def summary(bundle: Bundle, path: PathLike | None = None) -> str:
    """What was trained and how good it is, for people."""
    card = bundle.card
    library = f" and {card.counts['library']} of the library" if "library" in card.counts else ""
    recipe = card.settings["recipe"]
    made = f" (made by {recipe['fusion']})" if recipe["fusion"] else ""
    lines = [
        f"{', '.join(part.name for part in card.properties)}: {card.model} on {recipe['spectra']} "
        f"spectra{made}, {len(card.wavelength_nm)} bands, {card.counts['profiles']} samples{library}",
        *(f"bands: {line}" for line in card.selection.get("bands", ())),
        *say_counts(card.counts),
        *card.settings.get("masked", ()),
        f"scores: {card.properties[0].scores[0]['split']}",
        f"{'property':>24}  {'n':>4}  {'RMSE':>8}  {'unit':<6} {'R2':>6}  {'CCC':>6}  {'RPIQ':>5}  {'features':>8}",
    ]
    for part in card.properties:
        row = part.scores[-1]
        lines.append(
            f"{part.name:>24}  {row['n']:>4.0f}  {row['RMSE']:>8.3g}  {part.unit:<6} {row['R2']:>6.3f}  "
            f"{row['CCC']:>6.3f}  {row['RPIQ']:>5.2f}  {len(card.selection['kept'][part.code]):>8}"
        )
    if path is not None:
        lines.append(f"written: {path}")
    return "\n".join(lines)
