"""What a library lends to the samples of a study: its spectra on their bands, on the scale of their values."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.config import LibraryConfig, Study
from geosoil.errors import InputError, UsageError
from geosoil.jobs.libraries import check_sources, library_for
from geosoil.models.library_heads import Pretrained, pretrain_for
from geosoil.models.source import Source
from geosoil.prep.spectra import Preprocess
from geosoil.prep.target import TargetTransform
from geosoil.types import Progress, quiet

if TYPE_CHECKING:
    import xarray as xr

    from geosoil.jobs.inversion import SpectralRecipe
    from geosoil.jobs.libraries import LibrarySet
    from geosoil.jobs.pairs import PairSet
    from geosoil.types import Bool, Float64

log = logging.getLogger(__name__)

__all__ = [
    "Lent",
    "lend",
    "lending_key",
    "library_on",
    "preprocess_of_library",
    "range_of",
    "source_of",
    "taught",
    "teaches_same",
    "transform_of_library",
]

#: Transforms that do not take every number.
_POSITIVE = frozenset({"log", "log10", "log1p", "sqrt", "boxcox"})
#: Networks of the library, by what they are for.
Lent = dict[Any, Pretrained]


def lending_key(recipe: SpectralRecipe, place: int) -> Any:
    """What a network of the library depends on."""
    if recipe.transfer is None or not recipe.transfer.pretrains:
        return None
    return (recipe.steps, recipe.sources, recipe.transfer.of_source(), place)


def lend(data: PairSet, recipes: Sequence[SpectralRecipe], seed: int, progress: Progress = quiet) -> Lent:
    """Train the networks that the recipes take over from the library, once for all folds.

    They see no local sample, so that a fold may use them whatever it holds out.
    """
    asked = ((recipe, recipe.transfer, place) for recipe in recipes for place in range(len(recipe.transforms)))
    wanted = {
        key: (recipe, transfer, place)
        for recipe, transfer, place in asked
        if transfer is not None and (key := lending_key(recipe, place)) is not None
    }
    found = {}
    for number, (key, (recipe, transfer, place)) in enumerate(wanted.items()):
        progress(number, len(wanted), "training on the library")
        source = source_of(data, recipe, place, preprocess_of_library(data, recipe))
        found[key] = pretrain_for(source, transfer, seed)
    if wanted:
        progress(len(wanted), len(wanted), "training on the library")
    return found


def library_on(data: PairSet, study: Study, library: xr.DataArray) -> PairSet:
    """The samples with the library on their bands, without what repeats them; bands that it lacks are cut from both.

    Raises
    ------
    InputError
        As `library_for`; ``GS-TARGET-CONSTANT``, ``GS-TRANSFORM``: values of which nothing can be learned, or that do
        not go with their transform; ``GS-LIBRARY-SOURCE``.
    """
    config = study.library or LibraryConfig()
    codes = (config.property,) if config.property is not None else tuple(soil.code for soil in data.properties)
    found = library_for(
        library,
        data.bands,
        codes,
        local=data.of("laboratory"),
        sources=config.sources,
        leave_out=config.leave_out,
        uncovered=config.uncovered,
    )
    if len(found.kept) < len(data.bands):
        log.warning("%d of the samples' bands are cut: the library lacks them", len(data.bands) - len(found.kept))
        data = data.of_bands(found.kept)
    check_sources(found.source, config.nearby)
    if short := _short_tables(library):
        named = ", ".join(f"{one['table']} ({one['from_nm']:g} to {one['to_nm']:g} nm)" for one in short)
        log.warning(
            "%d tables of the library (%d spectra) are left out, as they do not reach over all bands of the samples: "
            "%s; a narrower range_nm under [library] takes them, and cuts these bands",
            len(short),
            sum(one["spectra"] for one in short),
            named,
        )
    data = replace(data, library=found, report={**data.report, "library": {**found.report, "short": short}})
    for place, soil in enumerate(data.properties):
        _check_values(data, place, study.how(soil.code).transform or soil.transform)
    return data


def _short_tables(library: xr.DataArray) -> list[dict[str, Any]]:
    """The tables of spectra that were read and left out again, since they do not cover the range."""
    report = library.attrs.get("report", {})
    gone = {one["table"] for one in report.get("left_out", ())}
    return [
        {key: one[key] for key in ("table", "spectra", "from_nm", "to_nm")}
        for one in report.get("tables", ())
        if one["table"] in gone
    ]


def _check_values(data: PairSet, place: int, kind: str) -> None:
    """Refuse values of which nothing can be learned, or that their transform does not take, before anything is run."""
    local, lent = data.values[:, place], _values(data, place)
    for whose, code, values in (
        ("samples", data.properties[place].code, local),
        ("library", taught(data, place), lent),
    ):
        held = values[np.isfinite(values)]
        if np.ptp(held) == 0:
            raise InputError(
                f"all {len(held)} values of {code} in the {whose} are {held[0]:g}",
                code="GS-TARGET-CONSTANT",
                hint="there is nothing to learn; give samples that differ",
            )
    if teaches_same(data):
        _shared_transform(data, place, kind)
    else:
        TargetTransform.fit(local[np.isfinite(local)], kind)


def range_of(data: PairSet, study: Study) -> tuple[float, float]:
    """Wavelengths that a library is read on, nm."""
    if study.library is not None and study.library.range_nm is not None:
        return study.library.range_nm
    return float(data.wavelength_nm.min()), float(data.wavelength_nm.max())


def _library(data: PairSet) -> LibrarySet:
    if data.library is None:
        raise UsageError(
            "transfer needs a library, and the study names none",
            code="GS-LIBRARY-NONE",
            hint='name it: [library] path = "library/"',
        )
    return data.library


def _rows(library: LibrarySet, recipe: SpectralRecipe) -> Bool:
    """Its samples that are of the recipe's data sets."""
    if not recipe.sources:
        return np.ones(len(library.source), np.bool_)
    check_sources(library.source, recipe.sources)
    return np.isin(library.source, recipe.sources)


def teaches_same(data: PairSet) -> bool:
    """Whether the library holds the samples' own properties, not another one."""
    return tuple(_library(data).codes) == tuple(soil.code for soil in data.properties)


def taught(data: PairSet, place: int) -> str:
    """Code of the property that the library teaches for the samples' property of this place."""
    return _library(data).codes[_column(data, place)]


def _column(data: PairSet, place: int) -> int:
    return place if teaches_same(data) else 0


def _values(data: PairSet, place: int) -> Float64:
    return np.asarray(_library(data).values[:, _column(data, place)], np.float64)


def preprocess_of_library(data: PairSet, recipe: SpectralRecipe) -> Preprocess:
    """Preprocessing as the library's spectra ask for it: it does not depend on which local samples are held out."""
    library = _library(data)
    return Preprocess.fit(library.spectra[_rows(library, recipe)], data.wavelength_nm, recipe.steps)


def transform_of_library(data: PairSet, recipe: SpectralRecipe, place: int) -> TargetTransform:
    """The scale of a property that library and samples share."""
    if teaches_same(data):
        return _shared_transform(data, place, recipe.transforms[place])
    values = _values(data, place)
    return TargetTransform.fit(values[np.isfinite(values)], _library(data).transform)


def _shared_transform(data: PairSet, place: int, kind: str) -> TargetTransform:
    """Fitted on the library; of the local values it sees those of 0 or less, which a logarithm has to be ready for."""
    values, local = _values(data, place), data.values[:, place]
    low = np.unique(local[local <= 0]) if kind in _POSITIVE else np.empty(0)
    return TargetTransform.fit(np.concatenate([values[np.isfinite(values)], low]), kind)


def source_of(data: PairSet, recipe: SpectralRecipe, place: int, preprocess: Preprocess) -> Source:
    """The library's samples that have a value, preprocessed (`preprocess_of_library`), on the transformed scale."""
    library, values = _library(data), _values(data, place)
    used = _rows(library, recipe) & np.isfinite(values)
    transform = transform_of_library(data, recipe, place)
    _, origin = np.unique(library.source[used], return_inverse=True)
    return Source(
        X=np.asarray(preprocess.apply(library.spectra[used]), np.float64),
        y=transform.forward(values[used]),
        same=teaches_same(data),
        origin=origin.astype(np.int64),
    )
