"""A spectral library on the bands of local samples or of a sensor, without what would leak into a test."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from geosoil.bands import Bands
from geosoil.errors import InputError, UsageError, listing
from geosoil.io.librarychecks import copies_of, upside_down
from geosoil.io.libraryvalues import NOT_TAKEN
from geosoil.io.spectrarows import check_one_unit
from geosoil.prep.resample import band_weights, resample
from geosoil.soil import properties

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import ArrayLike, NDArray

    from geosoil.types import Bool, Float64, Int64

__all__ = ["LEAK_TOLERANCE", "LibrarySet", "check_sources", "library_for"]

log = logging.getLogger(__name__)

#: A library's spectrum is a local one where the root mean square of their difference is at most this, reflectance. It
#: is wider than among the spectra of a library: the same spectrum came over two grids, and one too few does no harm.
LEAK_TOLERANCE = 1e-3
#: Fewest samples of a library that teach anything.
LEAST = 3
#: Values of reflectance have a median below this; percent and counts do not.
_HIGHEST = 1.5
#: Share of the spectra that have to be upside down for them to be absorbance.
_MOST = 0.9
#: Copies on coarse bands may lie so many times as far apart as on fine ones.
_MOST_BLURRED = 4.0
#: Copies that are named.
_NAMED = 10


@dataclass(frozen=True, eq=False)
class LibrarySet:
    """Samples of a library, as local samples or a sensor would have seen them.

    Attributes
    ----------
    codes : tuple of str
        The T properties.
    names : (N,) array of str
        Ids of the samples, as the library has them.
    spectra : (N, p) float64
        Reflectance on `bands`; no missing values.
    values : (N, T) float64
        In the properties' units; NaN where not observed, but no row without any value.
    source : (N,) array of str
        Data set of each sample.
    bands : Bands
        The p bands.
    kept : (p,) int64
        Their places among the bands that were asked for: all of them, unless some were cut.
    report : dict
        Counts of what was left out, and why.
    """

    codes: tuple[str, ...]
    names: NDArray[np.str_]
    spectra: Float64
    values: Float64
    source: NDArray[np.str_]
    bands: Bands
    kept: Int64
    report: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def transform(self) -> str:
        """The usual transform of the first property."""
        known = properties().get(self.codes[0])
        return known.transform if known is not None else "none"

    def take(self, rows: Int64 | Bool) -> LibrarySet:
        """Some of the samples."""
        return LibrarySet(
            self.codes,
            self.names[rows],
            self.spectra[rows],
            self.values[rows],
            self.source[rows],
            self.bands,
            self.kept,
            self.report,
        )


def library_for(
    library: xr.DataArray,
    bands: Bands | ArrayLike,
    properties: Sequence[str],
    *,
    fwhm_nm: ArrayLike | None = None,
    local: ArrayLike | None = None,
    sources: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    uncovered: Literal["refuse", "cut"] = "refuse",
    tolerance: float = LEAK_TOLERANCE,
) -> LibrarySet:
    """Bring a library to bands, and keep the samples that have a property and are none of the local ones.

    Parameters
    ----------
    library : xarray.DataArray
        As `io.library.open_library` gives it.
    bands : Bands or (b,) array-like
        Of the local samples, a cube or a sensor: wavelengths in nm. Bands with widths are seen through a Gaussian of
        each one's width, others take the straight line between the library's bands.
    properties : sequence of str
        Codes, such as ``soc``; a sample with a value of any of them is kept.
    fwhm_nm : (b,) array-like, optional
        Widths, for wavelengths alone.
    local : (n, b) array-like, optional
        Local spectra on the same bands, reflectance 0 to 1. Samples of the library that are copies of one are removed,
        whether it is used to train or to test: else a test would be on what the library has taught.
    sources, leave_out : sequence of str
        Data sets to use, all where none is named; and data sets to leave out.
    uncovered : {"refuse", "cut"}
        What to do with bands that the library does not cover; where they are cut, `LibrarySet.kept` tells the others.
    tolerance : float
        Root mean square of the difference of copies, reflectance; more where bands are further apart than 10 nm.

    Raises
    ------
    InputError
        ``GS-LIBRARY-PROPERTY`` (it has no such property, or too few samples with it), ``GS-LIBRARY-BANDS``,
        ``GS-LIBRARY-SOURCE``, ``GS-SPECTRA-QUANTITY`` (local spectra in percent or absorbance), ``GS-SPECTRA-MIXED``
        (some of them), ``GS-SPECTRA-SHAPE``,
        ``GS-WAVELENGTHS-NONE``, ``GS-LIBRARY-EMPTY``.
    UsageError
        ``GS-LIBRARY``: what was given is no library.
    """
    table = _table(library)
    wanted = _bands(bands, fwhm_nm)
    codes = _codes(table, properties, library.attrs.get("notes", ()))
    source = library["source"].values.astype(str)
    rows = _of_sources(source, sources, leave_out) & np.isfinite(table[codes].to_numpy(np.float64)).any(axis=1)
    _enough(rows, table, codes, "with a value of")
    kept, weights = _weights(library["wavelength"].values.astype(np.float64), wanted, uncovered)
    spectra = np.asarray(resample(library.values[rows], weights), np.float64)
    report: dict[str, Any] = {"samples": len(table), "without_value": int((~rows).sum()), "bands_cut": 0}
    report["bands_cut"] = len(wanted) - len(kept)
    numbers = np.flatnonzero(rows)
    if local is not None:
        beside = _local(local, wanted)[:, kept]
        check_one_unit(
            beside, np.asarray(wanted.wavelength_nm)[kept], [f"local {row + 1}" for row in range(len(beside))],
            "local spectra",
        )  # fmt: skip
        _check_local(beside, spectra, np.asarray(wanted.wavelength_nm)[kept])
        of = copies_of(spectra, beside, tolerance * _blurred(np.asarray(wanted.wavelength_nm)[kept]))
        report["copies"] = int((of >= 0).sum())
        report["copies_named"] = _named(library, numbers, of)
        report["copies_by_source"] = _by_source(source[numbers[of >= 0]])
        numbers, spectra = numbers[of < 0], spectra[of < 0]
        if report["copies"]:
            where = ", ".join(f"{count} of {name}" for name, count in report["copies_by_source"].items())
            log.warning("%d samples of the library are local ones and are left out: %s", report["copies"], where)
    whole = np.isfinite(spectra).all(axis=1)
    report["missing"] = int((~whole).sum())
    numbers, spectra = numbers[whole], spectra[whole]
    used = np.zeros(len(table), np.bool_)
    used[numbers] = True
    _enough(used, table, codes, "that are no local ones and have a value of")
    report["used"] = len(numbers)
    report["by_source"] = _by_source(source[numbers])
    return LibrarySet(
        codes=tuple(codes),
        names=library["sample"].values.astype(str)[numbers],
        spectra=np.ascontiguousarray(spectra),
        values=np.ascontiguousarray(table[codes].to_numpy(np.float64)[numbers]),
        source=source[numbers],
        bands=wanted.take(kept.tolist()),
        kept=kept,
        report=report,
    )


def _blurred(wavelength_nm: Float64) -> float:
    """How much further copies may lie apart on these bands than on those every 10 nm.

    Where one was brought to them by straight lines and the other through a Gaussian, they differ with the square of the
    step.
    """
    step = float(np.median(np.diff(wavelength_nm))) if len(wavelength_nm) > 1 else 0.0
    return float(np.clip((step / 10) ** 2, 1, _MOST_BLURRED))


def _table(library: xr.DataArray) -> pd.DataFrame:
    """The library's values; raises for what is no library."""
    values = getattr(library, "attrs", {}).get("values")
    if isinstance(values, pd.DataFrame) and "source" in library.coords and "wavelength" in library.coords:
        return values
    raise UsageError(
        "these spectra are no library: they have no values and data sets",
        code="GS-LIBRARY",
        hint="open them with geosoil.io.library.open_library",
    )


def _bands(bands: Bands | ArrayLike, fwhm_nm: ArrayLike | None) -> Bands:
    """Bands with wavelengths, widths where they are known."""
    if not isinstance(bands, Bands):
        centres = np.atleast_1d(np.asarray(bands, np.float64))
        widths = (
            () if fwhm_nm is None else tuple(np.broadcast_to(np.asarray(fwhm_nm, np.float64), centres.shape).tolist())
        )
        bands = Bands(
            tuple(f"{one:.10g}" for one in centres), wavelength_nm=tuple(centres.tolist()), fwhm_nm=tuple(widths)
        )
    if not bands.wavelength_nm or not np.isfinite(bands.wavelength_nm).all():
        raise InputError(
            "the bands that a library is to be brought to have no wavelengths",
            code="GS-WAVELENGTHS-NONE",
            details=[f"bands: {listing(list(bands.names))}"],
            hint="give them in nm",
        )
    return bands


def _codes(table: pd.DataFrame, wanted: Sequence[str], notes: Sequence[str]) -> list[str]:
    """The codes, when the library has all of them; `notes` may say why it has not."""
    if not wanted:
        raise UsageError("no property is asked of the library", code="GS-LIBRARY", hint='name one, such as "soc"')
    held = {str(code): int(table[code].notna().sum()) for code in table.columns}
    codes = [str(code).lower() for code in wanted]
    missing = [code for code in codes if not held.get(code)]
    if not missing:
        return codes
    hint = (
        "describe the column that holds it in library.toml; or let the library teach another property to a network:\n"
        'property = "ph" under [library]'
    )
    if missing == ["soc"] and held.get("som"):
        hint = "it has organic matter: open it with organic_matter_factor = 1.724 to use that as organic carbon"
    raise InputError(
        f"the library has no values of {listing(missing, 3)}"[:99],
        code="GS-LIBRARY-PROPERTY",
        details=[
            f"it has: {listing([f'{code} ({count} samples)' for code, count in held.items()]) or 'none'}",
            *[note for note in notes if any(f" {code}" in note and note.endswith(NOT_TAKEN) for code in missing)][:5],
        ],
        hint=hint,
    )


def check_sources(source: NDArray[np.str_], names: Sequence[str]) -> None:
    """Refuse names of data sets that a library does not have: InputError ``GS-LIBRARY-SOURCE``."""
    held = sorted(set(source.tolist()))
    unknown = [name for name in names if name not in held]
    if unknown:
        raise InputError(
            f"the library has no data set {listing(unknown, 3)}"[:99],
            code="GS-LIBRARY-SOURCE",
            details=[f"its data sets: {listing(held, 20)}"],
            hint="correct the names in [library]",
        )


def _of_sources(source: NDArray[np.str_], sources: Sequence[str], leave_out: Sequence[str]) -> Bool:
    """Samples of the data sets that are wanted."""
    check_sources(source, (*sources, *leave_out))
    wanted = np.isin(source, sources) if sources else np.ones(len(source), np.bool_)
    return np.asarray(wanted & ~np.isin(source, leave_out), np.bool_)


def _enough(rows: Bool, table: pd.DataFrame, codes: Sequence[str], which: str) -> None:
    """Refuse a library of which too little is left."""
    counts = table.loc[rows, list(codes)].notna().sum()
    if counts.min() >= LEAST:
        return
    raise InputError(
        f"the library has {int(counts.min())} samples {which} {counts.idxmin()}",
        code="GS-LIBRARY-PROPERTY" if not rows.any() else "GS-LIBRARY-EMPTY",
        details=[f"needed: {LEAST}", f"its samples: {len(table)}"],
        hint="add data sets, or use those that are left out",
    )


def _weights(source_nm: Float64, wanted: Bands, uncovered: str) -> tuple[Int64, Float64]:
    """The bands that the library covers, and what each is of its own; raises where that is not all, or none."""
    centres, every = np.asarray(wanted.wavelength_nm), np.arange(len(wanted))
    try:
        return every, band_weights(source_nm, wanted)
    except InputError as error:
        if error.code != "GS-RESAMPLE":
            raise
    covered = np.array([_is_covered(source_nm, wanted, place) for place in range(len(wanted))])
    if uncovered == "cut" and covered.any():
        kept = np.flatnonzero(covered)
        log.info("%d bands that the library does not cover are cut", len(every) - len(kept))
        return kept, band_weights(source_nm, wanted.take(kept.tolist()))
    missing = [f"{centre:g}" for centre in centres[~covered]]
    raise InputError(
        f"the library covers {int(covered.sum())} of {len(centres)} bands",
        code="GS-LIBRARY-BANDS",
        details=[
            f"not covered, nm: {listing(missing)}",
            f"the library reaches from {source_nm[0]:g} to {source_nm[-1]:g} nm",
        ],
        hint="open it on a wider range, which leaves short tables out: range_nm under [library] in a study"
        + ('; or cut these bands on both sides: uncovered = "cut"' if covered.any() else ""),
    )


def _is_covered(source_nm: Float64, wanted: Bands, place: int) -> bool:
    try:
        band_weights(source_nm, wanted.take([place]))
    except InputError:
        return False
    return True


def _local(local: ArrayLike, wanted: Bands) -> Float64:
    rows = np.asarray(local, np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(wanted):
        raise InputError(
            f"local spectra of shape {rows.shape} do not fit {len(wanted)} bands",
            code="GS-SPECTRA-SHAPE",
            hint="one row a sample, one column a band, on the bands that the library is brought to",
        )
    return rows


def _check_local(local: Float64, library: Float64, wavelength_nm: Float64) -> None:
    """Refuse local spectra that are something else than reflectance 0 to 1, as the library's are."""
    whole = local[np.isfinite(local).all(axis=1)]
    if not len(whole):
        return
    middle = float(np.median(whole))
    _, wrong = upside_down(whole, wavelength_nm)
    right, _ = upside_down(library, wavelength_nm)
    absorbance = wrong.mean() >= _MOST and right.mean() > 1 - _MOST
    if middle <= _HIGHEST and not absorbance:
        return
    what = "absorbance" if absorbance else "percent, or scaled"
    raise InputError(
        f"local spectra look like {what}; the library is reflectance 0 to 1",
        code="GS-SPECTRA-QUANTITY",
        details=[f"median of the local spectra: {middle:.3g}; of the library: {np.nanmedian(library):.3g}"],
        hint='say what they are: laboratory_quantity = "percent" or "absorbance" under [spectra] in a study; in Python '
        "open_spectra(..., quantity=...)",
    )


def _by_source(source: NDArray[np.str_]) -> dict[str, int]:
    """How many samples are of each data set."""
    return {str(name): int(count) for name, count in pd.Series(source, dtype=object).value_counts().items()}


def _named(library: xr.DataArray, numbers: Int64, of: Int64) -> list[dict[str, Any]]:
    """The first copies: which sample of the library is which local one."""
    found = np.flatnonzero(of >= 0)[:_NAMED]
    return [
        {
            "sample": str(library["sample"].values[numbers[row]]),
            "source": str(library["source"].values[numbers[row]]),
            "local_row": int(of[row]) + 1,
        }
        for row in found
    ]
