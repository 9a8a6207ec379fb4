"""`geosoil search`: a study with a library in, the 1D-CNN that cross-validates best on its samples out."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geosoil.config import Study, load_study
from geosoil.io.atomic import keep_inputs, replacing
from geosoil.jobs.compare_spectra import partition
from geosoil.jobs.lending import preprocess_of_library, source_of, transform_of_library
from geosoil.jobs.reading import study_files
from geosoil.jobs.search import SEARCH_FILES, SearchResult, SearchSettings, search
from geosoil.jobs.transfer import build_transfer, recipe_of_transfer
from geosoil.models.library_heads import localised
from geosoil.report.html import png
from geosoil.report.search import search_figure
from geosoil.types import PathLike, Progress, quiet

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

    from geosoil.jobs.inversion import SpectralRecipe
    from geosoil.jobs.pairs import PairSet
    from geosoil.types import Float64, Int64

__all__ = ["search_study", "summary"]

log = logging.getLogger(__name__)

#: Files that are written beside those of the search itself.
_TABLE, _PICTURE = "trials.csv", "search.png"
#: Ways of transfer whose networks learn from the library alone.
_LIBRARY_ALONE = frozenset({"library", "tuned"})
#: Ways that a search can be made for; the others have a regression of their own.
_WAYS = frozenset({"local", "library", "instances", "tuned", "instances-tuned"})


def search_study(
    study: Study | PathLike,
    out: PathLike,
    *,
    settings: SearchSettings | None = None,
    samples: gpd.GeoDataFrame | None = None,
    scene: xr.DataArray | None = None,
    laboratory: xr.DataArray | None = None,
    satellite: xr.DataArray | None = None,
    library: xr.DataArray | None = None,
    num_workers: int = 1,
    device: str = "auto",
    progress: Progress = quiet,
) -> SearchResult:
    """Look for the 1D-CNN of a study's first property; ``best.json`` in OUT is what ``[transfer] net`` takes.

    The network is that of the study's way of transfer: of the library (``library``, ``tuned``), which leaves scores of
    the samples honest; of the samples (``local``); or of both, the library's part being what RS-LOCAL keeps
    (``instances``, ``instances-tuned``, and where the study's way has a regression of its own). Where the study's
    comparison holds out all but those that Kennard and Stone choose, the search sees these alone; else a warning says
    that scores with the network are optimistic.

    Parameters
    ----------
    study : Study or path
        With a library.
    out : path
        Folder, which is made where it is not there. A search that was stopped goes on from what lies in it.
    settings : SearchSettings, optional
        100 trials of 10 folds.
    samples, scene, laboratory, satellite, library : optional
        As for `transfer`.
    num_workers, device, progress
        As for `search`.

    Raises
    ------
    InputError, UsageError, OutputError
        As `transfer` and `search`; ``GS-OUTPUT-INPUT`` where a file in the folder is one that the study names.
    """
    study = study if isinstance(study, Study) else load_study(study)
    # A study may name the network that this search is to find.
    study = study.model_copy(update={"transfer": study.transfer.model_copy(update={"net": None})})
    folder = Path(out)
    read = study_files(study, samples, scene, laboratory, satellite, library)
    keep_inputs([folder / name for name in (*SEARCH_FILES, _TABLE, _PICTURE)], read)
    data = build_transfer(
        study,
        samples=samples,
        scene=scene,
        laboratory=laboratory,
        satellite=satellite,
        library=library,
        progress=progress,
    )
    way = recipe_of_transfer(study, data).model
    recipe = recipe_of_transfer(study, data, way if way in _WAYS else "instances", "cnn")
    X, y, groups = _training(study, data, recipe)
    found = search(
        X, y, settings, groups=groups, seed=study.seed, folder=folder, num_workers=num_workers, device=device,
        progress=progress,
    )  # fmt: skip
    _write(folder, found)
    return found


def _training(study: Study, data: PairSet, recipe: SpectralRecipe) -> tuple[Float64, Float64, Int64]:
    """Features and response that the network is searched on, and what has to share a fold."""
    preprocess = preprocess_of_library(data, recipe)
    source = source_of(data, recipe, 0, preprocess)
    if recipe.model in _LIBRARY_ALONE:
        return source.X, source.y, np.arange(len(source))
    known = np.isfinite(data.values[:, 0])
    if "kennard-stone" in study.compare.schemes:
        known &= partition(study, data, "kennard-stone", study.seed) < 0
    else:
        log.warning("the search sees all samples: scores of these samples with its network are optimistic")
    X = np.asarray(preprocess.apply(data.of(recipe.spectra)[known]), np.float64)
    y = transform_of_library(data, recipe, 0).forward(data.values[known, 0])
    if recipe.model != "local" and recipe.transfer is not None:
        kept = localised(X, y, source, recipe.transfer, study.seed)
        X, y = np.vstack([X, source.X[kept]]), np.concatenate([y, source.y[kept]])
    return X, y, np.arange(len(y))


def _write(folder: Path, found: SearchResult) -> None:
    """The trials as a table and a picture, beside what the search itself has left."""
    rows = [{**{key: value for key, value in asdict(one).items() if key != "params"}, **one.params}
            for one in found.trials]  # fmt: skip
    with replacing(folder / _TABLE) as part:
        pd.DataFrame(rows).to_csv(part, index=False, float_format="%.6g")
    figure = search_figure([one.state for one in found.trials], [one.rmse for one in found.trials], found.importance)
    with replacing(folder / _PICTURE) as part:
        part.write_bytes(png(figure))


def summary(found: SearchResult, folder: Path) -> str:
    """What the search found, for people."""
    states = [one.state for one in found.trials]
    layers = f"{len(found.best.conv)} convolutions, {len(found.best.dense)} dense layers"
    most = max(found.importance.items(), key=lambda one: one[1], default=None)
    return "\n".join(
        [
            f"{len(states)} networks: {states.count('complete')} whole, {states.count('stopped')} stopped early",
            f"best: {layers}; cross-validated RMSE {found.rmse:.4g} on the scale that it learns, too small by being "
            "chosen",
            *([] if most is None else [f"what matters most: {most[0]} ({100 * most[1]:.0f} % of the variance)"]),
            f'to use it: [transfer] head = "cnn", net = "{folder / "best.json"}"',
        ]
    )
