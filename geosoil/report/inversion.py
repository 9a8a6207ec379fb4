"""The report of a model of spectra: scores, spectra before and after, and the wavelengths that are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from geosoil.prep.cars import in_words
from geosoil.report.html import Section, write_report
from geosoil.report.lending import library_section
from geosoil.report.plots import scatter_by_depth
from geosoil.report.spectra import SUPPORT_CAPTION, spectra_figure, support_figure
from geosoil.report.training import score_frame

if TYPE_CHECKING:
    from geosoil.soil import Property

__all__ = ["spectral_model", "write_inversion"]

_HEADS = {
    "plsr": "partial least squares",
    "svr": "support vectors with a Gaussian kernel",
    "rf": "a random forest",
    "fd-rf": "a random forest on fractional derivatives",
    "dnn": "a small dense network",
    "resnet": "a one-dimensional residual network",
    "cnn": "a one-dimensional convolutional network",
}
_TRANSFERS = {
    "local": "{head}, of the samples alone",
    "library": "{head}, of the library alone",
    "spiked": "{head}, of the library and the samples, which weigh more",
    "instances": "{head}, of the samples and those of the library that predict them best (RS-LOCAL)",
    "neighbours": "a small regression for each spectrum, of the spectra most like it (memory-based learning)",
    "tuned": "a network that was trained on the library, its last layers tuned on the samples",
    "instances-tuned": "a network of the library, tuned on the samples and those of the library that predict them best",
    "mixture": "several ways to use the library, weighted by what they predict of samples that they did not see",
}
_READ = {
    "laboratory": "laboratory spectra",
    "satellite": "the satellite spectra",
    "generated": "laboratory-like spectra that a translator makes of the satellite spectra",
    "mixed": "the satellite spectra and the laboratory-like spectra made of them",
}
#: What spectra can tell, by where they come from.
_LIMITS = {
    "satellite": "An optical sensor sees the top millimetres of the soil; metals show only through the iron, clay and "
    "organic matter that they go with.",
    "laboratory": "These are spectra of dry, sieved soil; the errors do not hold for spectra of a field. Metals show "
    "only through the iron, clay and organic matter that they go with.",
}


def write_inversion(
    path: Path,
    card: Any,
    report: Mapping[str, Any],
    frame: pd.DataFrame,
    properties: Sequence[Property],
    spectra: Mapping[str, Any],
) -> Path:
    """Write the report of a model of spectra.

    Parameters
    ----------
    card : Card
        Of the model.
    report : mapping
        Of the samples: what was read, used and left out.
    frame : DataFrame
        Held-out predictions: ``property``, ``depth``, ``observed``, ``predicted``.
    properties : sequence of Property
    spectra : mapping
        As ``jobs.invert.fitted_spectra``.
    """
    sections = [
        spectral_model(card),
        *(_property(card, soil, frame) for soil in properties),
        _spectra(card, properties, spectra),
    ]
    sections += [_samples(card, report), *([library_section(report["library"])] if "library" in report else [])]
    sections.append(_bands(card))
    names = ", ".join(soil.name for soil in properties)
    return write_report(path, f"{card.name}: model of spectra", sections, subtitle=names)


def spectral_model(card: Any) -> Section:
    """What a model of spectra is."""
    recipe = card.settings["recipe"]
    steps = ", ".join(recipe["steps"]) or "none"
    cars = recipe["cars"]
    selection = "All features are used." if cars is None else f"Features are selected by {in_words(cars)}."
    way = _HEADS[recipe["head"]] if recipe["transfer"] is None else _transfer(recipe)
    return Section(
        "Model",
        (
            f"The model reads {_READ[recipe['spectra']]}, and predicts by {way}. {selection} Preprocessing: {steps}.",
            f"Trained on {_samples_of(card)}, {card.created}, seed {card.seed}. {_LIMITS[_kind_read(recipe)]}",
        ),
    )


def _kind_read(recipe: Mapping[str, Any]) -> str:
    """Where the spectra come from that a model reads."""
    return "laboratory" if recipe["spectra"] == "laboratory" else "satellite"


def _transfer(recipe: Mapping[str, Any]) -> str:
    """How the library helped."""
    head = _HEADS[recipe["head"]]
    return _TRANSFERS[recipe["transfer"]].format(head=head)


def _samples_of(card: Any) -> str:
    """Number of samples, and of those that a library lent."""
    own = f"{card.counts['profiles']} samples"
    return f"{own} and {card.counts['library']} of a library" if "library" in card.counts else own


def _property(card: Any, soil: Property, frame: pd.DataFrame) -> Section:
    (part,) = [one for one in card.properties if one.code == soil.code]
    rows = frame[frame["property"] == soil.code]
    depths = list(dict.fromkeys(rows["depth"]))
    return Section(
        soil.name,
        (
            f"From {part.scores[0]['split']}: each sample was predicted by a fit that never saw it; "
            f"{_fitted(card.settings['recipe'])} used the other samples alone.",
        ),
        tables=((f"Errors in {soil.unit}; ME above 0 means over-prediction", score_frame(part).tail(1)),),
        figures=(("Observed against held-out predicted values.", scatter_by_depth(rows, soil, depths)),),
    )


def _fitted(recipe: Mapping[str, Any]) -> str:
    """What of a recipe is fitted or searched."""
    parts = [
        *(["the translator"] if recipe.get("fusion") else []),
        *(["the selection of bands"] if recipe.get("cars") else []),
        "all searches",
    ]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _spectra(card: Any, properties: Sequence[Property], spectra: Mapping[str, Any]) -> Section:
    label = "preprocessed value" if card.settings["recipe"]["steps"] else "reflectance"
    before = "Mean spectra with the range of the middle 80 % of the samples."
    if spectra["generated"] is not None:
        before += (
            " The generated spectra are those of the samples that the translator was fitted on; new ones lie farther "
            "from the laboratory's."
        )
    if spectra["satellite"] is not None and spectra["laboratory"] is not None:
        before += (
            " Dotted: the spread of the laboratory spectra, which is the difference if all samples got their mean."
        )
    figures = [(before, spectra_figure({**spectra, "label": label}))]
    if card.settings["recipe"].get("cars"):
        figures.append((SUPPORT_CAPTION, support_figure(properties, spectra)))
    return Section("Spectra", figures=tuple(figures))


def _samples(card: Any, report: Mapping[str, Any]) -> Section:
    rows = {"used": card.counts["profiles"]}
    if "outside" not in report:  # spectra of a table, which lie in no scene
        rows["with spectra that lack bands"] = len(report.get("no_data", ()))
    else:
        rows |= {
            "outside the scene": len(report.get("outside", ())),
            "on cells without data": len(report.get("no_data", ())),
            "on masked cells": len(report.get("masked", ())),
            "without a laboratory spectrum": len(report.get("without_laboratory", ())),
            "neighbouring cells that look alike, for the translator": report.get("neighbours", 0),
        }
    table = pd.DataFrame([(name, int(count)) for name, count in rows.items() if count], columns=["samples", "count"])
    notes = tuple(str(note) for note in report.get("samples", {}).get("notes", ()))
    return Section("Samples", (*notes, *report.get("masks", ())), tables=(("", table),))


def _bands(card: Any) -> Section:
    return Section("Bands", tuple(card.selection.get("bands", ())))
