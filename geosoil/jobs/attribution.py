"""`geosoil explain`: why a model says what it says, for spectra, samples, or the cells of a region."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geosoil.errors import UsageError, listing
from geosoil.io.reads import files_behind, read_files
from geosoil.io.spectra import spectra_files
from geosoil.jobs.attribution_data import Part, Rows, part_of, patches_of_samples, prepared, spectra_of
from geosoil.jobs.attribution_map import map_contributions
from geosoil.jobs.attribution_told import (
    Explained,
    Explanation,
    file_names,
    joined,
    record_of,
    shown_of,
    title_of,
    write_explanation,
)
from geosoil.jobs.staging import staged
from geosoil.models.bundle import Bundle, load_model
from geosoil.models.explained import Drawing, Subject, covariate_subject, spectral_subject
from geosoil.models.spectral import SpectralPredictor
from geosoil.report.attributions import Against
from geosoil.report.importance import compare_importance, importance_table
from geosoil.soil import Target
from geosoil.stops import Stop, listen, stoppable
from geosoil.types import PathLike, Progress, quiet

if TYPE_CHECKING:
    import xarray as xr

    from geosoil.jobs.matching import Scene
    from geosoil.models.attributions import Attribution
    from geosoil.types import Float64

__all__ = ["explain"]

log = logging.getLogger(__name__)

#: Rows of the background, and samples or cells that are explained for the report of a region.
MOST_BACKGROUND, _MOST_CELLS = 1000, 500
#: Points a sample, and a cell of a map.
DRAWS, _MAP_DRAWS = 200, 50
#: Width of the bands of a map of contributions of spectra, nm.
STEP_NM = 100.0
#: From this share of the predictions' SD on a gap is worth a warning.
_WIDE_GAP = 0.02
#: From this share of the contributions' own size on, what they scatter by the draws is.
_WIDE_SCATTER = 0.2


def explain(
    model: Bundle | PathLike,
    data: PathLike | pd.DataFrame | xr.DataArray,
    out: PathLike | None = None,
    *,
    scene: Scene | None = None,
    background: PathLike | pd.DataFrame | xr.DataArray | None = None,
    against: Bundle | PathLike | None = None,
    properties: Sequence[str] | None = None,
    window: tuple[int, int, int, int] | None = None,
    region: tuple[float, float, float, float] | None = None,
    draws: int | None = None,
    seed: int = 0,
    step_nm: float = STEP_NM,
    quantity: str | None = None,
    id: str | None = None,
    crs: str | None = None,
    num_workers: int | None = None,
    overwrite: bool = False,
    progress: Progress = quiet,
) -> Explanation:
    """Attribute a model's predictions to bands or covariates (SHAP values).

    The contributions of a sample add up to its prediction less the mean prediction of the background, on the scale that
    the model works on (the logarithm, where it was trained on one). What is missing from that is the gap, and is told.

    Parameters
    ----------
    model : Bundle or path
        Any model file.
    data : path, DataFrame or DataArray
        For a model of spectra: spectra, as `open_spectra` reads them. For a model of covariates: samples with their
        places, and `scene` beside. With `window` or `region`: the scene itself, of which a map is made too.
    out : path, optional
        Folder to write: ``attributions.csv``, ``attributions.npz``, ``explain.json``, ``report.html``, plots; and of a
        region a GeoTIFF an output.
    scene : optional
        Covariates, or a cube, that the samples lie on.
    background : optional
        What the model is compared with, of the same kind as `data`; by default up to 1,000 rows of `data`, or cells
        from all over the scene.
    against : Bundle or path, optional
        Another model of spectra, such as the source of a transfer: which wavelengths are shared, lost and new.
    properties : sequence of str, optional
        Codes of the properties to explain; all by default.
    window : (column, row, width, height), optional
        Rectangle of the scene, cells.
    region : (west, south, east, north), optional
        Rectangle in the scene's CRS.
    draws : int, optional
        Points a sample for expected gradients: 200, and 50 for the cells of a region.
    step_nm : float
        Width of the bands of a map of contributions of spectra.
    quantity, id
        Of spectra; see `open_spectra`.
    crs : str, optional
        Of samples, or of a scene, that do not tell it.

    Raises
    ------
    UsageError
        ``GS-EXPLAIN-SCENE``, ``GS-EXPLAIN-AGAINST``, ``GS-EXPLAIN-PROPERTY``, ``GS-EXPLAIN-DRAWS``, ``GS-REGION``.
    InputError, ModelError, OutputError
    InterruptedRunError
    """
    bundle = model if isinstance(model, Bundle) else load_model(model)
    other = None if against is None else against if isinstance(against, Bundle) else load_model(against)
    mapped = window is not None or region is not None
    _check(bundle, other, scene, mapped=mapped, draws=draws, step_nm=step_nm)
    wanted = _targets(bundle, properties)
    stop = Stop()
    tick = stoppable(progress, stop)
    reading = _Reading(bundle, data, scene, background, window, region, quantity, id, crs, seed)
    titles = [title_of(bundle.targets[place]) for place in wanted]
    spectral = isinstance(bundle.predictor, SpectralPredictor)
    names = file_names(bundle, wanted, titles, spectral=spectral, against=other is not None, mapped=mapped)

    def run(folder: Path | None) -> Explanation:
        rows, far, part = reading.read()
        count = draws or (_MAP_DRAWS if mapped else DRAWS)
        drawing = Drawing(count, seed, num_workers)
        found = tuple(_explained(bundle, place, rows, far, drawing, tick) for place in wanted)
        compared = {} if other is None else _against(bundle, other, found, reading, drawing, tick)
        record = record_of(bundle, other, found, compared, rows, far, drawing)
        made = Explanation(joined(found), found, rows.names, compared, record)
        if folder is not None:
            if part is not None:
                record["maps"] = [
                    map_contributions(folder, bundle, one, part, far, drawing, step_nm, tick) for one in found
                ]
            write_explanation(folder, bundle, made, rows, far)
        return made

    with listen(stop):
        if out is None:
            return run(None)
        target = Path(out).expanduser()
        with staged(target, names, overwrite=overwrite, inputs=reading.files(model, against)) as work:
            made = run(work)
    files = tuple(target / name for name in names)
    return Explanation(made.table, made.outputs, made.samples, made.against, made.record, files)


def _check(
    bundle: Bundle, other: Bundle | None, scene: Scene | None, *, mapped: bool, draws: int | None, step_nm: float
) -> None:
    spectral = isinstance(bundle.predictor, SpectralPredictor)
    if draws is not None and draws < 1:
        raise UsageError(f"{draws} draws are none", code="GS-EXPLAIN-DRAWS", hint="take 200")
    if not step_nm > 0:
        raise UsageError(f"bands of {step_nm:g} nm are none", code="GS-EXPLAIN-STEP", hint="take 100")
    if not spectral and not mapped and scene is None:
        raise UsageError(
            f"model {bundle.card.name!r} reads covariates, and no scene is given",
            code="GS-EXPLAIN-SCENE",
            hint="name the covariates: --scene covariates.tif; or explain a part of a scene: --window 0,0,64,64",
        )
    if mapped and scene is not None:
        raise UsageError(
            "a region is explained on the scene that is given as data",
            code="GS-EXPLAIN-SCENE",
            hint="leave out --scene",
        )
    if other is not None and (not spectral or mapped or scene is not None):
        raise UsageError(
            "models are compared on tables of spectra only",
            code="GS-EXPLAIN-AGAINST",
            hint="give spectra as data, and leave out --scene, --window and --region",
        )
    if other is not None and not isinstance(other.predictor, SpectralPredictor):
        raise UsageError(
            f"model {other.card.name!r} is no model of spectra", code="GS-EXPLAIN-AGAINST", hint="name one that is"
        )


def _targets(bundle: Bundle, properties: Sequence[str] | None) -> list[int]:
    """Places of the outputs of these properties."""
    codes = [soil.code for soil in bundle.soil_properties]
    strange = [code for code in properties or () if code not in codes]
    if strange:
        raise UsageError(
            f"model {bundle.card.name!r} does not predict {listing(strange, 3)}",
            code="GS-EXPLAIN-PROPERTY",
            details=[f"it predicts: {listing(codes)}"],
            hint="name one of these",
        )
    chosen = set(properties or codes)
    return [place for place, target in enumerate(bundle.targets) if target.soil_property.code in chosen]


@dataclass(frozen=True, eq=False)
class _Reading:
    """What the user named, and how it is read."""

    bundle: Bundle
    data: Any
    scene: Any
    background: Any
    window: tuple[int, int, int, int] | None
    region: tuple[float, float, float, float] | None
    quantity: str | None
    id: str | None
    crs: str | None
    seed: int

    def files(self, *models: object) -> tuple[Path, ...]:
        """All files that are read, those of the models among them; see `io.reads.read_files`."""
        given = (self.data, self.background)
        mapped = self.window is not None or self.region is not None
        if self.scene is not None or mapped:
            scenes = (self.data,) if mapped else (self.scene,)
            return read_files(*models, *given, scenes=scenes)
        return (*read_files(*models), *files_behind(given, spectra_files))

    def read(self) -> tuple[Rows, Rows, Part | None]:
        """Samples, background, and the part of the scene that is mapped."""
        if self.window is not None or self.region is not None:
            task, stack = prepared(self.bundle, self.data, crs=self.crs)
            part = part_of(task, stack, self.window, self.region)
            rows = part.sample(_MOST_CELLS, self.seed)
            if self.background is None:
                return rows, part.background(MOST_BACKGROUND, self.seed), part
            return rows, patches_of_samples(task, stack, self.background, crs=self.crs), part
        if self.scene is not None:
            task, stack = prepared(self.bundle, self.scene)
            rows = patches_of_samples(task, stack, self.data, crs=self.crs)
            given = self.background
            far = None if given is None else patches_of_samples(task, stack, given, crs=self.crs)
            return rows, (far or rows).some(MOST_BACKGROUND, self.seed), None
        rows, far = self.spectra(self.bundle)
        return rows, far, None

    def spectra(self, bundle: Bundle) -> tuple[Rows, Rows]:
        """Spectra on the bands of a model, and the background."""
        rows = spectra_of(bundle, self.data, quantity=self.quantity, id=self.id)
        if self.background is None:
            return rows, rows.some(MOST_BACKGROUND, self.seed)
        far = spectra_of(bundle, self.background, quantity=self.quantity, id=self.id)
        return rows, far.some(MOST_BACKGROUND, self.seed)


def _subject(bundle: Bundle, place: int) -> Subject:
    if isinstance(bundle.predictor, SpectralPredictor):
        return spectral_subject(bundle.predictor, place)
    return covariate_subject(bundle.encoder, bundle.predictor, place)


def _explained(
    bundle: Bundle, place: int, rows: Rows, background: Rows, drawing: Drawing, progress: Progress
) -> Explained:
    subject = _subject(bundle, place)
    target = bundle.targets[place]
    name = f"attributing {title_of(target)}"
    found = subject.attribute(
        subject.rows(rows.raw),
        subject.rows(background.raw),
        drawing,
        lambda done, total, _: progress(done, total, name),
    )
    _warn(title_of(target), found, drawing)
    inputs = _inputs(bundle, subject, rows)
    table = importance_table(
        found.values,
        inputs,
        found.output,
        subject.names,
        wavelength_nm=subject.wavelength_nm,
        source=subject.source,
        read=subject.read,
        width=subject.width,
    )
    return Explained(target, subject, found, inputs, table)


def _warn(title: str, found: Attribution, drawing: Drawing) -> None:
    """Say what more draws would mend, and where no more are taken."""
    more = "raise --draws" if found.draws >= drawing.draws else "more are not taken for a model without gradients"
    if found.gap_share > _WIDE_GAP:
        share = 100 * found.gap_share
        log.warning("the contributions to %s miss %.1f %% of the predictions' SD on average: %s", title, share, more)
    if found.scatter > _WIDE_SCATTER:
        share = 100 * found.scatter
        log.warning("%d draws tell the contributions to %s to about %.0f %%: %s", found.draws, title, share, more)


def _inputs(bundle: Bundle, subject: Subject, rows: Rows) -> Float64:
    """The inputs as numbers to colour and correlate by: of covariates the centre cell, and nothing for classes."""
    if subject.wavelength_nm is not None:
        return np.asarray(subject.rows(rows.raw), np.float64)
    middle = bundle.patch // 2
    cells = rows.raw[:, middle, middle]
    found = np.full((len(rows), len(subject.names)), np.nan)
    column = 0
    for place, codes in enumerate(bundle.encoder.categories):
        if codes is None:
            found[:, place] = cells[:, column]
        column += 1 if codes is None else len(codes)
    return found


def _against(
    bundle: Bundle, other: Bundle, found: Sequence[Explained], reading: _Reading, drawing: Drawing, progress: Progress
) -> dict[str, Against]:
    """The other model on the same samples, on its own bands."""
    rows, far = reading.spectra(other)
    codes = [target.soil_property.code for target in other.targets]
    compared: dict[str, Against] = {}
    made: dict[int, Explained] = {}
    for one in found:
        code = one.target.soil_property.code
        place = codes.index(code) if code in codes else 0
        if place not in made:
            made[place] = _explained(other, place, rows, far, drawing, progress)
        theirs = made[place]
        own_nm, own = _curve(one.table)
        other_nm, values = _curve(theirs.table)
        changes, alike = compare_importance(own_nm, own, other_nm, values)
        names = (_model_name(bundle, one.target), _model_name(other, theirs.target))
        compared[title_of(one.target)] = Against(names, shown_of(other, theirs, rows, far), changes, alike)
    return compared


def _model_name(bundle: Bundle, target: Target) -> str:
    return f"{bundle.card.name} ({target.soil_property.name.lower()}, {bundle.card.model})"


def _curve(table: pd.DataFrame) -> tuple[Float64, Float64]:
    """Smoothed importance by wavelength, over all kinds of spectra."""
    joined = table.groupby("wavelength", sort=True)["smoothed"].sum()
    return joined.index.to_numpy(np.float64), joined.to_numpy(np.float64)
