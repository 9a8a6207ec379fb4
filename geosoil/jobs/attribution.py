"""`geosoil explain`: why a model says what it says, for spectra, samples, or the cells of a region."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geosoil.bands import Bands
from geosoil.errors import UsageError, listing
from geosoil.grid.sweep import Stop, listen, stoppable
from geosoil.io.geotiff import write_cube
from geosoil.jobs.attribution_data import Part, Rows, part_of, patches_of_samples, prepared, spectra_of
from geosoil.jobs.staging import staged
from geosoil.models.attributions import Attribution
from geosoil.models.bundle import Bundle, load_model
from geosoil.models.explained import Drawing, Subject, covariate_subject, spectral_subject
from geosoil.models.spectral import SpectralPredictor
from geosoil.report.absorptions import constituents_at
from geosoil.report.attributions import Against, Shown, figure_names, write_attributions
from geosoil.report.html import png
from geosoil.report.importance import compare_importance, importance_table
from geosoil.soil import Target
from geosoil.types import PathLike, Progress, quiet

if TYPE_CHECKING:
    import xarray as xr

    from geosoil.jobs.matching import Scene
    from geosoil.types import Float32, Float64, Int64

__all__ = ["Explained", "Explanation", "explain", "summary"]

log = logging.getLogger(__name__)

#: Rows of the background, and samples or cells that are explained for the report of a region.
MOST_BACKGROUND, _MOST_CELLS = 1000, 500
#: Points a sample, and a cell of a map.
DRAWS, _MAP_DRAWS = 200, 50
#: Width of the bands of a map of contributions of spectra, nm.
STEP_NM = 100.0
#: Cells that are explained at a time, about.
_CELLS = 2048
#: From this share of the predictions' SD on a gap is worth a warning.
_WIDE_GAP = 0.02
TABLE, VALUES, RECORD, REPORT = "attributions.csv", "attributions.npz", "explain.json", "report.html"


@dataclass(frozen=True, eq=False)
class Explained:
    """One output of the model.

    Attributes
    ----------
    target : Target
    subject : Subject
        What got contributions, and how.
    attribution : Attribution
        Contributions on the scale that the model works on.
    inputs : (n, p) float64
        The inputs; NaN where an input is no single number.
    table : DataFrame
        As `report.importance.importance_table` makes it.
    """

    target: Target
    subject: Subject
    attribution: Attribution
    inputs: Float64
    table: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Explanation:
    """What `explain` found.

    Attributes
    ----------
    table : DataFrame
        All outputs: ``property``, ``depth``, and the columns of `importance_table`.
    outputs : tuple of Explained
    samples : tuple of str
        Names of the rows.
    against : mapping
        By output, the wavelengths that are shared, lost and new.
    record : dict
        What ``explain.json`` holds.
    files : tuple of Path
        What was written; empty without a folder.
    """

    table: pd.DataFrame
    outputs: tuple[Explained, ...]
    samples: tuple[str, ...]
    against: Mapping[str, Against]
    record: dict[str, Any]
    files: tuple[Path, ...] = ()


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
    titles = [_title(bundle.targets[place]) for place in wanted]
    spectral = isinstance(bundle.predictor, SpectralPredictor)
    names = _file_names(bundle, wanted, titles, spectral=spectral, against=other is not None, mapped=mapped)

    def run(folder: Path | None) -> Explanation:
        rows, far, part = reading.read()
        count = draws or (_MAP_DRAWS if mapped else DRAWS)
        drawing = Drawing(count, seed, num_workers)
        found = tuple(_explained(bundle, place, rows, far, drawing, tick) for place in wanted)
        compared = {} if other is None else _against(bundle, other, found, reading, drawing, tick)
        record = _record(bundle, other, found, compared, rows, far, drawing)
        made = Explanation(_joined(found), found, rows.names, compared, record)
        if folder is not None:
            if part is not None:
                record["maps"] = [_map(folder, bundle, one, part, far, drawing, step_nm, tick) for one in found]
            _write(folder, bundle, made, rows, far)
        return made

    with listen(stop):
        if out is None:
            return run(None)
        target = Path(out).expanduser()
        with staged(target, names, overwrite=overwrite) as work:
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
    name = f"attributing {_title(target)}"
    found = subject.attribute(
        subject.rows(rows.raw),
        subject.rows(background.raw),
        drawing,
        lambda done, total, _: progress(done, total, name),
    )
    if found.gap_share > _WIDE_GAP:
        log.warning(
            "the contributions to %s miss %.1f %% of the predictions' SD on average: raise --draws",
            _title(target),
            100 * found.gap_share,
        )
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
        compared[_title(one.target)] = Against(names, _shown(other, theirs, rows, far), changes, alike)
    return compared


def _model_name(bundle: Bundle, target: Target) -> str:
    return f"{bundle.card.name} ({target.soil_property.name.lower()}, {bundle.card.model})"


def _curve(table: pd.DataFrame) -> tuple[Float64, Float64]:
    """Smoothed importance by wavelength, over all kinds of spectra."""
    joined = table.groupby("wavelength", sort=True)["smoothed"].sum()
    return joined.index.to_numpy(np.float64), joined.to_numpy(np.float64)


def _title(target: Target) -> str:
    return f"{target.soil_property.name}, {target.depth}"


def _unit(bundle: Bundle, target: Target) -> str:
    """Unit of contributions: that of the scale that the model works on."""
    soil = target.soil_property
    place = next(p for p, one in enumerate(bundle.soil_properties) if one.code == soil.code)
    kind = bundle.transforms[place].kind
    unit = "" if soil.unit == "1" else soil.unit
    if kind == "none":
        return unit or soil.name
    word = {"log": "ln", "log1p": "ln(1 + x)", "log10": "log10"}.get(kind, kind)
    return f"{word} {unit}".strip()


def _joined(found: Sequence[Explained]) -> pd.DataFrame:
    frames = []
    for one in found:
        frame = one.table.copy()
        frame.insert(0, "depth", str(one.target.depth))
        frame.insert(0, "property", one.target.soil_property.code)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _facts(one: Explained, rows: Rows, background: Rows) -> dict[str, str]:
    found = one.attribution
    facts = {
        "explained": f"{len(rows)} {'spectra' if one.subject.wavelength_nm is not None else 'places'} ({rows.source})",
        "background": f"{len(background)} rows ({background.source})",
        "method": one.subject.method + (f", {found.draws} draws a sample" if found.draws else ""),
        "gap": _gap_words(found),
        "inputs": one.subject.quantity + (f", because {one.subject.why}" if one.subject.why else ""),
    }
    if one.subject.width > 1:
        facts["windows"] = (
            f"the first layer joins {one.subject.width} neighbouring bands, which it cannot tell apart: "
            "see the columns window_..."
        )
    return facts


def _gap_words(found: Attribution) -> str:
    if np.isnan(found.gap_share):
        return "predictions do not vary"
    return f"{100 * found.gap_share:.2g} % of the predictions' SD (root mean square)"


def _shown(bundle: Bundle, one: Explained, rows: Rows, background: Rows) -> Shown:
    return Shown(
        title=_title(one.target),
        unit=_unit(bundle, one.target),
        quantity=one.subject.quantity,
        table=one.table,
        values=one.attribution.values,
        inputs=one.inputs,
        facts=_facts(one, rows, background),
        notes=(*one.subject.notes, *rows.notes),
    )


def _record(
    bundle: Bundle,
    other: Bundle | None,
    found: Sequence[Explained],
    compared: Mapping[str, Against],
    rows: Rows,
    background: Rows,
    drawing: Drawing,
) -> dict[str, Any]:
    """What ``explain.json`` holds."""
    return {
        "schema": 1,
        "model": {"name": bundle.card.name, "sha256": bundle.sha256},
        "against": None if other is None else {"name": other.card.name, "sha256": other.sha256},
        "data": {"source": rows.source, "rows": len(rows), "notes": list(rows.notes)},
        "background": {"source": background.source, "rows": len(background)},
        "seed": drawing.seed,
        "outputs": [
            {
                "property": one.target.soil_property.code,
                "depth": str(one.target.depth),
                "unit": _unit(bundle, one.target),
                "inputs": one.subject.quantity,
                "why": one.subject.why,
                "method": one.subject.method,
                "draws": one.attribution.draws,
                "window": one.subject.width,
                "base": one.attribution.base,
                "gap_share": None if np.isnan(one.attribution.gap_share) else one.attribution.gap_share,
                "notes": list(one.subject.notes),
                **_matters(_shown(bundle, one, rows, background), compared.get(_title(one.target))),
            }
            for one in found
        ],
    }


def _matters(shown: Shown, against: Against | None) -> dict[str, Any]:
    """The windows or covariates that hold most, and what another model shares."""
    if shown.wavelength_nm is None:
        top = shown.table.sort_values("mean_abs", ascending=False, kind="stable").head(10)
        return {"top": top[["input", "mean_abs", "share"]].to_dict(orient="records")}
    windows = [
        {
            "first_nm": one.first_nm,
            "last_nm": one.last_nm,
            "share": one.share,
            "constituents": constituents_at(one.first_nm, one.last_nm),
        }
        for one in shown.windows
    ]
    if against is None:
        return {"windows": windows}
    changes = {"models": list(against.names), **against.alike, "changes": against.changes.to_dict(orient="records")}
    return {"windows": windows, "against": changes}


def _stem(target: Target) -> str:
    return target.stem("attributions")


def _file_names(
    bundle: Bundle, wanted: Sequence[int], titles: Sequence[str], *, spectral: bool, against: bool, mapped: bool
) -> list[str]:
    maps = [f"{_stem(bundle.targets[place])}.tif" for place in wanted] if mapped else []
    plots = [f"{name}.png" for name in figure_names(titles, spectral=spectral, against=against)]
    return [TABLE, VALUES, RECORD, REPORT, *maps, *plots]


def _write(folder: Path, bundle: Bundle, made: Explanation, rows: Rows, background: Rows) -> None:
    """Tables, values, record, report and plots."""
    made.table.to_csv(folder / TABLE, index=False, float_format="%.6g")
    arrays: dict[str, Any] = {"samples": np.array(made.samples)}
    for one in made.outputs:
        stem = _stem(one.target)
        arrays |= {
            f"{stem}.values": one.attribution.values.astype(np.float32),
            f"{stem}.inputs": one.inputs.astype(np.float32),
            f"{stem}.prediction": one.attribution.output,
            f"{stem}.base": np.array(one.attribution.base),
            f"{stem}.names": np.array(one.subject.names),
        }
        if one.subject.wavelength_nm is not None:
            arrays[f"{stem}.wavelength"] = one.subject.wavelength_nm
    np.savez_compressed(folder / VALUES, **arrays)
    (folder / RECORD).write_text(
        json.dumps(made.record, indent=1, ensure_ascii=False, allow_nan=False, default=float) + "\n", encoding="utf-8"
    )
    shown = [_shown(bundle, one, rows, background) for one in made.outputs]
    figures = write_attributions(folder / REPORT, bundle.card.name, shown, made.against)
    for name, figure in figures.items():
        (folder / f"{name}.png").write_bytes(png(figure))


# Maps -----------------------------------------------------------------------------------------------------------------


def _map(
    folder: Path,
    bundle: Bundle,
    one: Explained,
    part: Part,
    background: Rows,
    drawing: Drawing,
    step_nm: float,
    progress: Progress,
) -> dict[str, Any]:
    """Contributions of all cells of a region, a band a covariate or a window of wavelengths."""
    bands, member = _bands(one.subject, step_nm)
    far = one.subject.rows(background.raw)
    height = max(1, _CELLS // part.shape[1])
    gaps: list[Float64] = []
    outputs: list[Float64] = []

    def windows(rows: tuple[int, int], columns: tuple[int, int]) -> Callable[[Int64], Float32]:
        made = np.full((len(bands), rows[1] - rows[0], part.shape[1]), np.nan, np.float32)
        for top in range(rows[0], rows[1], height):
            bottom = min(top + height, rows[1])
            cells, valid = part.cells((top + part.rows[0], bottom + part.rows[0]))
            if len(cells):
                found = one.subject.attribute(one.subject.rows(cells), far, drawing)
                block = np.full((len(bands), *valid.shape), np.nan, np.float32)
                block[:-1, valid] = (found.values @ member).T
                block[-1, valid] = found.output
                made[:, top - rows[0] : bottom - rows[0]] = block
                gaps.append(found.gap)
                outputs.append(found.output)
            progress(bottom, part.shape[0], f"mapping {_title(one.target)}")
        return lambda positions: made[positions]

    unit = _unit(bundle, one.target)
    name = f"{_stem(one.target)}.tif"
    tags = {
        "long_name": f"contributions to {_title(one.target)}",
        "base": repr(one.attribution.base),
        "method": one.subject.method,
        "model_sha256": bundle.sha256,
        "source": f"model {bundle.card.name!r}",
    }
    counts = write_cube(folder / name, windows, bands, part.grid, tags=tags, compress="deflate", units=unit)
    gap, output = (np.concatenate(parts) if parts else np.zeros(0) for parts in (gaps, outputs))
    spread = float(output.std()) if len(output) else 0.0
    share = float(np.sqrt(np.mean(gap**2))) / spread if spread > 0 else None
    return {"file": name, "cells": counts["cells"], "valid": counts["valid"], "gap_share": share, "unit": unit}


def _bands(subject: Subject, step_nm: float) -> tuple[Bands, Float64]:
    """Bands of a map, the last the prediction, and which inputs go into which, (p, bands - 1)."""
    if subject.wavelength_nm is None:
        return Bands((*subject.names, "prediction")), np.eye(len(subject.names))
    kinds = np.array(subject.source or [""] * len(subject.names))
    first = np.floor(subject.wavelength_nm / step_nm).astype(np.int64)
    labels = [(str(kind), int(place)) for kind, place in zip(kinds, first, strict=True)]
    order = sorted(set(labels), key=lambda one: (one[0] == "generated", one[1]))
    member = np.zeros((len(labels), len(order)))
    for row, label in enumerate(labels):
        member[row, order.index(label)] = 1
    names = [f"{kind} {place * step_nm:g}-{(place + 1) * step_nm:g} nm".strip() for kind, place in order]
    return Bands((*names, "prediction")), member


def summary(found: Explanation) -> str:
    """What matters most to each output, and how well the contributions add up, for people."""
    lines = []
    for one, told in zip(found.outputs, found.record["outputs"], strict=True):
        lines.append(_title(one.target))
        lines.append(f"  {one.subject.method}" + (f", {told['draws']} draws a sample" if told["draws"] else ""))
        lines.append(f"  gap: {_gap_words(one.attribution)}")
        if one.subject.why:
            lines.append(f"  contributions are those of {one.subject.quantity}: {one.subject.why}")
        if "windows" in told:
            for window in told["windows"][:5]:
                absorbs = "; ".join(window["constituents"][:3])
                lines.append(
                    f"  {window['first_nm']:.0f}-{window['last_nm']:.0f} nm: {100 * window['share']:.1f} %"
                    + (f"   {absorbs}" if absorbs else "")
                )
        else:
            lines += [f"  {top['input']}: {100 * top['share']:.1f} %" for top in told["top"][:5]]
        if "against" in told:
            kinds = [row["change"] for row in told["against"]["changes"]]
            lines.append(
                f"  against {told['against']['models'][1]}: overlap {100 * told['against']['overlap']:.0f} %, windows "
                f"shared {kinds.count('shared')}, lost {kinds.count('lost')}, new {kinds.count('new')}"
            )
    background = found.record["background"]
    lines.append(f"background: {background['rows']} rows ({background['source']})")
    return "\n".join(lines)
