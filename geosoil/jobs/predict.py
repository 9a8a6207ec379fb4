"""`geosoil predict`: a model of spectra and a table of them in, a table of values with intervals out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from geosoil.bands import Bands
from geosoil.errors import InputError, ModelError, UsageError, listing
from geosoil.io.atomic import check_output, replacing
from geosoil.io.reads import files_behind, read_files
from geosoil.io.spectra import open_spectra, spectra_files
from geosoil.models.bundle import Bundle, load_model
from geosoil.prep.resample import on_bands
from geosoil.types import PathLike

if TYPE_CHECKING:
    from geosoil.types import Float64

__all__ = ["predict_spectra", "summary"]

log = logging.getLogger(__name__)

Quantity = Literal["reflectance", "percent", "absorbance"]
#: Spectra that a model may read, of a sensor and not of a laboratory.
_OF_SENSOR = frozenset({"satellite", "generated", "mixed"})
#: Wavelengths are those of a model's bands if all are so near, nm, and the others are no more than so many for each.
_NEAR_NM, _MOST_BESIDE = 1.0, 2.0


def predict_spectra(
    model: Bundle | PathLike,
    spectra: xr.DataArray | PathLike,
    output: PathLike | None = None,
    *,
    statistics: Sequence[str] = ("mean", "Q0.05", "Q0.95"),
    quantity: Quantity | None = None,
    id: str | None = None,
    splice: bool = False,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Predict soil properties of spectra.

    The spectra are brought to the model's bands; those of the sensor's own bands are taken as they are. Quantiles are
    those of the residuals of the model's cross-validation: they hold for samples like the ones that it was trained on.

    Parameters
    ----------
    model : Bundle or path
        A model of spectra, from `invert` or `transfer`.
    spectra : DataArray or path
        As `open_spectra` gives them, or what it opens: tables, ``.asd`` and ``.sed`` files, folders of them.
    output : path, optional
        CSV or Parquet to write.
    statistics : sequence of str
        ``mean``, and quantiles such as ``Q0.05``.
    quantity, id, splice
        As for `open_spectra`.
    overwrite : bool
        Replace the file that is there.

    Returns
    -------
    DataFrame
        A row a spectrum: ``sample``, and for each property and statistic a column ``{property}_{statistic}_{unit}``.
        NaN where a band that the model reads has no value.

    Raises
    ------
    ModelError
        ``GS-MODEL-SPECTRA``: the model takes no spectra.
    InputError
        As `open_spectra`; ``GS-RESAMPLE`` where the spectra do not cover the model's bands.
    OutputError
        ``GS-OUTPUT-EXISTS``, ``GS-OUTPUT-INPUT``.
    """
    read = (*read_files(model), *files_behind([spectra], spectra_files))
    target = None if output is None else _target(output, overwrite=overwrite, inputs=read)
    bundle = model if isinstance(model, Bundle) else load_model(model)
    if not bundle.card.wavelength_nm:
        raise ModelError(
            f"the model takes {len(bundle.bands)} covariates, not spectra",
            code="GS-MODEL-SPECTRA",
            hint="map a scene with it: geosoil map; or give a model of geosoil invert or transfer",
        )
    if not isinstance(spectra, xr.DataArray):
        spectra = _opened(spectra, quantity, id, splice=splice)
    rows = on_model(spectra, bundle)
    _say_other_kind(spectra, bundle)
    cells = np.ascontiguousarray(rows.T, np.float32)[:, None, :]
    maps = bundle.predict_block(cells, statistics)[:, 0]
    outputs = bundle.outputs(statistics)
    _say_repeated(spectra)
    columns = {_column(one): values.astype(np.float64) for one, values in zip(outputs, maps, strict=True)}
    found = pd.DataFrame({"sample": spectra["sample"].values.astype(str), **columns})
    if target is not None:
        with replacing(target) as part:
            _write(found, part, target.suffix)
    return found


def _say_repeated(spectra: xr.DataArray) -> None:
    """Warn of spectra that cannot be told apart in the table."""
    names = pd.Series(spectra["sample"].values.astype(str))
    repeated = names[names.duplicated(keep=False)]
    if len(repeated):
        log.warning(
            "%d spectra share %d names: %s; each has a row of its own, in the order of the input",
            len(repeated), repeated.nunique(), listing(list(dict.fromkeys(repeated)), 5),
        )  # fmt: skip


def _opened(path: PathLike, quantity: Quantity | None, id: str | None, *, splice: bool) -> xr.DataArray:
    """The spectra of a file, with where a cube goes said."""
    try:
        spectra = open_spectra(path, quantity=quantity, id=id, splice=splice)
    except InputError as error:
        if error.code != "GS-TABLE-READ":
            raise
        hint = "give a table or folder of spectra; a cube is mapped: geosoil map MODEL CUBE OUT/"
        raise InputError(error.message, code=error.code, details=error.details, hint=hint) from error
    for note in spectra.attrs["notes"]:
        log.info("%s", note)
    return spectra


def _target(output: PathLike, *, overwrite: bool, inputs: Sequence[object]) -> Path:
    path = check_output(Path(output), overwrite=overwrite, inputs=inputs)
    if path.suffix not in {".csv", ".parquet"}:
        raise UsageError(
            f"{path.name}: predictions are written as .csv or .parquet", code="GS-OUTPUT", hint="name such a file"
        )
    return path


def _write(found: pd.DataFrame, path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        found.to_parquet(path, index=False)
    else:
        found.to_csv(path, index=False, float_format="%.6g")


def on_model(spectra: xr.DataArray, bundle: Bundle) -> Float64:
    """Spectra on the model's bands (n, p); raises InputError where they do not cover them."""
    card = bundle.card
    bands = Bands(bundle.bands, wavelength_nm=card.wavelength_nm, fwhm_nm=card.fwhm_nm)
    source = spectra["wavelength"].values.astype(np.float64)
    if (np.diff(source) <= 0).any():
        raise InputError(
            "the wavelengths of the spectra do not rise",
            code="GS-WAVELENGTH",
            hint="cut the overlap of the detectors first",
        )
    if card.fwhm_nm and _on_bands_of(spectra, bundle):
        # As mapping takes them: what the sensor has averaged is not averaged again.
        nearest = np.abs(source - np.array(card.wavelength_nm)[:, None]).argmin(axis=1)
        return np.asarray(spectra.values[:, nearest], np.float64)
    try:
        return on_bands(np.asarray(spectra.values, np.float64), source, bands)
    except InputError as error:
        if error.code != "GS-RESAMPLE":
            raise
        hint = "give spectra over the model's range, or train a model on the range of these"
        raise InputError(error.message, code=error.code, details=error.details, hint=hint) from error


def _say_other_kind(spectra: xr.DataArray, bundle: Bundle) -> None:
    """Warn, in a line, where a model of a sensor's spectra is given others, or where nothing tells which they are."""
    recipe = bundle.card.settings.get("recipe") or {}
    if recipe.get("spectra") not in _OF_SENSOR:
        return
    if not any(bundle.card.cell):  # trained on a table: its bands are no sensor's, and tell nothing
        if not recipe.get("fusion"):
            return
        doubt = "nothing tells whether these are such, and of laboratory spectra its values are wrong"
    elif _on_bands_of(spectra, bundle):
        return
    else:
        doubt = f"these have {_axis(spectra)}, as a laboratory's have, and their values cannot be trusted"
    log.warning("model %r expects %s: %s", bundle.card.name, _expected(bundle, recipe), doubt)


def _expected(bundle: Bundle, recipe: Mapping[str, Any]) -> str:
    """The spectra that a model was trained on, in words."""
    card = bundle.card
    level = f", reflectance at the {card.level}" if card.level else ""
    fusion = f", which its translator ({recipe['fusion']}) makes laboratory-like" if recipe.get("fusion") else ""
    low, high = min(card.wavelength_nm), max(card.wavelength_nm)
    return f"satellite spectra of {len(card.wavelength_nm)} bands, {low:.0f} to {high:.0f} nm{level}{fusion}"


def _axis(spectra: xr.DataArray) -> str:
    wavelength = spectra["wavelength"].values.astype(np.float64)
    return f"{len(wavelength)} wavelengths, mostly {np.median(np.diff(wavelength)):.3g} nm apart"


def _on_bands_of(spectra: xr.DataArray, bundle: Bundle) -> bool:
    """Whether wavelengths are the bands of the sensor that a model was trained on, with others left out or not."""
    own, wavelength = np.sort(bundle.card.wavelength_nm), spectra["wavelength"].values.astype(np.float64)
    among = int(((wavelength >= own[0]) & (wavelength <= own[-1])).sum())
    off = np.abs(own[:, None] - wavelength).min(axis=1).max()
    return bool(off <= _NEAR_NM and among <= _MOST_BESIDE * len(own))


def _column(output: Any) -> str:
    """Name of a column: property, statistic and unit."""
    soil = output.target.soil_property
    unit = {"1": "", "%": "_pct"}.get(soil.unit, "_" + soil.unit.replace("/", "_per_"))
    return f"{soil.code}_{output.statistic}{unit}"


def summary(found: pd.DataFrame, path: PathLike) -> str:
    """What was predicted, for people."""
    lines = [f"{len(found)} spectra"]
    for name in found.columns[1:]:
        values = found[name].dropna()
        if len(values) and "_mean" in name:
            lines.append(f"{name}: {values.min():.3g} to {values.max():.3g}, median {values.median():.3g}")
    empty = int(found.iloc[:, 1].isna().sum())
    return "\n".join([*lines, *([f"without a value: {empty}"] if empty else []), f"written: {path}"])
