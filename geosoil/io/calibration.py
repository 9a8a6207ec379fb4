"""What the stored numbers of a cube are: reflectance, radiance or bare counts, and by what they are scaled."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from geosoil.bands import Bands
from geosoil.errors import InputError

from .addresses import redact, short_name
from .gdal import borrow
from .rasterfile import RasterFile
from .sunlight import LONG_NM, SHORT_NM, VISIBLE_NM, falls_like_sunlight, nearest, solar_lines

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float64

__all__ = ["RADIANCE_UNITS", "calibrate", "radiance_factor", "sparse_windows"]

#: Unit of radiance inside.
RADIANCE_UNITS = "W m-2 sr-1 um-1"
#: 99th percentiles between which reflectance lies, whatever is on the ground.
_REFLECTANCE = (1e-3, 2.0)
#: 99th percentile below which no scale that is asked for counts where the file itself gives more; dark water has 0.02.
_DARKEST = 0.01
#: What whole numbers are divided by where nothing states it.
_USUAL = 10_000.0
#: Radiance of sunlit land in the visible is above the first in W m-2 sr-1 um-1, and above the second in
#: uW cm-2 sr-1 nm-1 (99th percentile; the sun gives about 1,800 W m-2 um-1 there).
_BRIGHT, _DIM = 25.0, 0.4
#: 99th percentile of reflectance in percent at most, and of reflectance x 10,000 with decimals at least.
_MOST_PERCENT, _LEAST_USUAL = 120.0, 1000.0
#: Radiance is below this in any unit; counts are above.
_MOST_RADIANCE = 2000.0
#: Windows along an edge, and fewest cells, of which the visible is looked at for the sun's lines.
_LOOKS, _FEWEST = 3, 100
#: Bands, cells of a window and bytes that are read to find out.
_BANDS, _EDGE, _MOST_BYTES = 12, (8, 32), 256 * 2**20

#: Why a scale is taken that the user gives.
_ASKED = "as asked"
#: How a scale is stated.
_SCALE_HINT = (
    "state the right one: --scale 10000 for reflectance x 10000, --scale 100 for percent, --scale 1 for reflectance as "
    "it is;\nin a study: scale = 10000 under [scene]; from Python: scale=10000"
)
_TOO_SMALL_HINT = (
    "reflectance may have been divided twice: write it again, or undo it in the header: reflectance scale factor = "
    "0.0001;\nof radiance the header has to name the unit: data units = W m-2 sr-1 um-1"
)

# Scale and offset of each band.
_Scaling: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class _Sample:
    """Stored numbers of some windows, ``(window, band, y, x)``; where they are no data; and the bands' positions.

    Of the two bands by which sunlight is known also their wavelengths, nm; none where one of them lacks. `lines` says
    of the bands in the visible that they bear the sun's lines.
    """

    stored: NDArray[Any]
    missing: NDArray[np.bool_]
    bands: tuple[int, ...]
    sun: tuple[tuple[int, float], ...] = ()
    lines: Callable[[_Scaling], bool | None] | None = None

    def values(self, scaling: _Scaling, among: Sequence[int] | None = None) -> Float64:
        """Valid numbers after scaling, of all bands of the sample or of those at some positions in the file."""
        chosen = [place for place, band in enumerate(self.bands) if among is None or band in among]
        factor, shift = (
            np.array([one[self.bands[place]] for place in chosen], np.float64).reshape(1, -1, 1, 1) for one in scaling
        )
        values = self.stored[:, chosen].astype(np.float64) * factor + shift
        return np.asarray(values[~self.missing[:, chosen]])

    @property
    def whole(self) -> bool:
        """Whether all valid numbers are whole, whatever they are stored as."""
        stored = self.stored[~self.missing]
        return stored.dtype.kind in "iu" or bool((stored == np.round(stored)).all())

    def sunlit(self, scaling: _Scaling) -> str:
        """That the spectra fall as sunlight does, in words; empty where they do not, or cannot tell."""
        told = None if self.lines is None else self.lines(scaling)
        if told is not None:
            low, high = VISIBLE_NM
            return f"{low:.0f} to {high:.0f} nm bear the lines of the sun, as in sunlight" if told else ""
        if not self.sun:
            return ""
        chosen = [self.bands.index(place) for place, _ in self.sun]
        factor, shift = (np.array([one[place] for place, _ in self.sun])[:, None] for one in scaling)
        both = ~self.missing[:, chosen].any(axis=1)
        ratio = falls_like_sunlight(*(np.moveaxis(self.stored[:, chosen], 1, 0)[:, both] * factor + shift))
        (_, short), (_, long) = self.sun
        return "" if ratio is None else f"{long:.0f} nm has at most {ratio:.2f} of {short:.0f} nm, as in sunlight"

    def high(self, scaling: _Scaling, among: Sequence[int] | None = None) -> float | None:
        """Their 99th percentile; None where the sample has no data."""
        values = self.values(scaling, among)
        return float(np.percentile(values, 99)) if values.size else None


@dataclass(frozen=True)
class _Meaning:
    """How values come out of stored numbers, and what they are then."""

    quantity: str
    scaling: _Scaling
    how: str
    notes: tuple[str, ...] = ()


def sparse_windows(shape: tuple[int, int], side: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Windows of 8 x 32 cells, spread over an image in `side` rows and columns; a small image is taken whole.

    >>> sparse_windows((100, 200), 1)
    [((46, 54), (84, 116))]
    """
    spans = []
    for size, edge in zip(shape, _EDGE, strict=True):
        edge = size if size <= side * edge else edge
        starts = np.unique(np.round(np.linspace(0, size - edge, side + 2)[1:-1]).astype(int))
        spans.append([(int(start), int(start) + edge) for start in starts])
    return [(rows, cols) for rows in spans[0] for cols in spans[1]]


def calibrate(
    file: RasterFile, bands: Bands, words: Mapping[str, str], scale: float | None
) -> tuple[RasterFile, dict[str, Any]]:
    """The file with the scale of its bands settled, and the facts of the scene.

    The scale is the one asked for, else the header's ``reflectance scale factor``, else the scale and offset of the
    bands, else guessed from the numbers: integers whose 99th percentile is above 2 are reflectance times 10,000.

    Parameters
    ----------
    file : RasterFile
        As opened.
    bands : Bands
        With wavelengths.
    words : mapping
        Entries of the header, names in lower case with blanks.
    scale : float, optional
        Stored numbers are reflectance times this.

    Returns
    -------
    RasterFile
        With formats that give reflectance, radiance in W m-2 sr-1 um-1, or numbers as stored.
    dict
        ``quantity``, ``units``, ``scale`` (how it was found, in words) and ``notes``.

    Raises
    ------
    InputError
        ``GS-SCALE`` where the scale that the file states gives no reflectance, ``GS-BYTE-ORDER`` where the numbers
        make sense only in the other byte order.
    """
    where = file.handle.address
    sample = _sample(file, bands)
    if "byte order" in words:
        _check_byte_order(sample, where)
    meaning = _meaning(file, sample, words, scale)
    if meaning.quantity == "radiance":
        meaning = _in_our_unit(meaning, sample, bands, words)
    units = RADIANCE_UNITS if meaning.quantity == "radiance" else "1"
    formats = tuple(
        replace(one, scale=factor, offset=shift)
        for one, factor, shift in zip(file.formats, *meaning.scaling, strict=True)
    )
    facts = {"quantity": meaning.quantity, "units": units, "scale": meaning.how, "notes": meaning.notes}
    return replace(file, formats=formats), facts


def _sample(file: RasterFile, bands: Bands) -> _Sample:
    """Stored numbers here and there; bad bands are left out, and what cannot be read is passed over."""
    usable = [place for place, good in enumerate(bands.good) if good] or list(range(len(bands)))
    chosen = {usable[place] for place in np.linspace(0, len(usable) - 1, _BANDS).round().astype(int)}
    # The green band tells radiance in one unit from radiance in another.
    chosen.add(min(usable, key=lambda place: abs(bands.wavelength_nm[place] - 550)))
    sun = _of_sunlight(bands, usable)
    places = sorted(chosen.union(place for place, _ in sun))
    formats = [file.formats[place] for place in places]
    stored, missing = [], []
    for rows, cols in sparse_windows(file.geobox.shape.yx, _side(file, len(places))):
        try:
            numbers, mask = file.read_stored([one.index for one in formats], rows, cols)
        except InputError:
            continue
        gaps = np.stack([one.missing(numbers[place]) for place, one in enumerate(formats)])
        stored.append(numbers)
        missing.append(gaps if mask is None else gaps | (mask == 0))
    visible = partial(_lines, _visible(file, bands, usable), bands)
    if not stored:
        empty = np.empty((0, len(places), 1, 1))
        return _Sample(empty, empty.astype(bool), tuple(places))
    return _Sample(np.stack(stored), np.stack(missing), tuple(places), sun, visible)


def _visible(file: RasterFile, bands: Bands, usable: Sequence[int]) -> dict[int, float]:
    """Medians of the stored numbers of narrow bands in the visible, by position; none where the middle has no data."""
    low, high = VISIBLE_NM
    places = sorted(
        (place for place in usable if low <= bands.wavelength_nm[place] <= high),
        key=lambda one: bands.wavelength_nm[one],
    )
    formats = [file.formats[place] for place in places]
    found: list[NDArray[Any]] = []
    for rows, cols in (
        sparse_windows(file.geobox.shape.yx, min(_LOOKS, _side(file, max(len(places), 1)))) if places else ()
    ):
        try:
            numbers, mask = file.read_stored([one.index for one in formats], rows, cols)
        except InputError:
            continue
        gaps = np.stack([one.missing(numbers[place]) for place, one in enumerate(formats)])
        gaps |= False if mask is None else mask == 0
        found.append(numbers[:, ~gaps.any(axis=0)])
    cells = np.concatenate(found, axis=1) if found else np.empty((0, 0))
    if cells.shape[1] < _FEWEST:
        return {}
    return dict(zip(places, np.median(cells, axis=1).astype(np.float64).tolist(), strict=True))


def _lines(visible: Mapping[int, float], bands: Bands, scaling: _Scaling) -> bool | None:
    """Whether the sun's lines are in the visible; None where that cannot be told."""
    places = list(visible)
    if len(places) < 2:
        return None
    wavelength = np.array([bands.wavelength_nm[place] for place in places])
    step = float(np.median(np.diff(wavelength)))
    fwhm = np.array([bands.fwhm_nm[place] if bands.fwhm_nm and bands.fwhm_nm[place] > 0 else step for place in places])
    values = np.array([visible[place] * scaling[0][place] + scaling[1][place] for place in places])
    return solar_lines(values, wavelength, fwhm)


def _of_sunlight(bands: Bands, usable: Sequence[int]) -> tuple[tuple[int, float], ...]:
    """The two bands by which sunlight is known, with their wavelengths; none where one of them lacks."""
    wavelength = [bands.wavelength_nm[place] for place in usable]
    found = [nearest(wavelength, nm) for nm in (SHORT_NM, LONG_NM)]
    return () if None in found else tuple((usable[place], wavelength[place]) for place in found if place is not None)


def _side(file: RasterFile, bands: int) -> int:
    """Windows along an edge for which no more than `_MOST_BYTES` have to be unpacked."""
    with borrow(file.handle) as dataset:
        rows, cols = dataset.block_shapes[0]
        together = dataset.interleaving is not None and dataset.interleaving.name != "band"
        depth = dataset.count if together else bands
        item = np.dtype(dataset.dtypes[0]).itemsize
    blocks = math.ceil(_EDGE[0] / rows) * math.ceil(_EDGE[1] / cols)
    return max(1, min(5, math.isqrt(_MOST_BYTES // max(blocks * rows * cols * depth * item, 1))))


def _meaning(file: RasterFile, sample: _Sample, words: Mapping[str, str], scale: float | None) -> _Meaning:
    where, said = file.handle.address, _said(words)
    own = tuple(one.scale for one in file.formats), tuple(one.offset for one in file.formats)
    plain = (1.0,) * len(file.formats), (0.0,) * len(file.formats)
    stated = _stated_scale(words, where)
    if stated is not None:
        meaning = _divided(stated, plain, "the reflectance scale factor of the header", _disagreement(own, stated))
    elif own != plain:
        meaning = _scaled(sample, said, own)
    else:
        meaning = _guessed(sample, said, plain)
    if scale is not None:
        notes = () if said in {None, "reflectance"} else (f"the header says {said}; taken as reflectance, as asked",)
        asked = _divided(scale, plain, _ASKED, notes)
        _check_reflectance(asked, sample, plain, where)
        _check_against(asked, meaning, sample, where)
        if (stated is not None or own != plain) and meaning.scaling != asked.scaling:
            notes = (*notes, f"the file states that {meaning.how}: taken as reflectance x {scale:g}, as asked")
        if shape := sample.sunlit(asked.scaling):
            notes = (*notes, f"no reflectance by its spectra, as {shape}: taken for it, as asked")
        return replace(asked, notes=notes)
    if meaning.quantity != "reflectance":
        return meaning
    _check_reflectance(meaning, sample, plain, where)
    shape = sample.sunlit(meaning.scaling)
    if not shape:
        return meaning
    if stated is not None or said == "reflectance":
        _refuse_sunlight(meaning, shape, where)
    note = f"{shape}: {{}}; if it is reflectance, as of snow and water alone, say its scale: --scale 10000, --scale 1"
    if own != plain:
        return replace(meaning, quantity="radiance", notes=(note.format("taken as radiance"),))
    quantity = "dn" if sample.whole else "radiance"
    return _Meaning(quantity, plain, "as stored", (note.format(f"taken as {quantity}"),))


def _divided(scale: float, plain: _Scaling, why: str, notes: tuple[str, ...] = ()) -> _Meaning:
    how = f"reflectance = stored number / {scale:g} ({why})" if scale != 1 else f"reflectance as stored ({why})"
    return _Meaning("reflectance", ((1 / scale,) * len(plain[0]), plain[1]), how, notes)


def _scaled(sample: _Sample, said: str | None, own: _Scaling) -> _Meaning:
    """What comes of the bands' own scale and offset."""
    how = "value = stored number x scale + offset, by band (scales and offsets of the bands)"
    if len(set(own[0])) == len(set(own[1])) == 1:
        shift = f" {'+' if own[1][0] > 0 else '-'} {abs(own[1][0]):g}" if own[1][0] else ""
        how = f"value = stored number x {own[0][0]:g}{shift} (scale and offset of the bands)"
    high = sample.high(own)
    quantity = said or _by_size(high)
    surprise = said is None and quantity != "reflectance"
    return _Meaning(quantity, own, how, (f"values reach {high:.4g}: taken as {quantity}",) if surprise else ())


def _disagreement(own: _Scaling, stated: float) -> tuple[str, ...]:
    if set(own[1]) != {0.0} or any(one != 1 and abs(one * stated - 1) > 1e-6 for one in own[0]):
        return ("scale and offset of the bands differ from the reflectance scale factor, and are not used",)
    return ()


def _guessed(sample: _Sample, said: str | None, plain: _Scaling) -> _Meaning:
    """What numbers are of which no scale is stated."""
    high = sample.high(plain)
    if high is None:
        return _Meaning(said or "dn", plain, "as stored", ("no data in a sparse sample: what they are is not known",))
    whole = sample.whole
    if said == "dn" or (said == "radiance" and not whole):
        return _Meaning(said, plain, f"as stored ({said}, says the header)")
    if said == "radiance":
        return _Meaning("dn", plain, "as stored", ("the header speaks of radiance but states no gain: bare counts",))
    found = f"99th percentile of a sparse sample {high:.4g}"
    if high <= _REFLECTANCE[1]:
        return _divided(1.0, plain, found)
    factor = _USUAL if whole or high > _MOST_PERCENT else 100.0
    # Numbers with decimals between percent and the usual integers are radiance, whatever the header calls them.
    fits = whole or (said == "reflectance" and (factor != _USUAL or high >= _LEAST_USUAL))
    if fits and high <= _REFLECTANCE[1] * _USUAL:
        note = f"no scale is stated: taken as reflectance x {factor:.0f} ({found}); if it is not, state the scale"
        return _divided(factor, plain, f"a guess: {found}", (note,))
    quantity = _by_size(high)
    note = f"{found}, which is no reflectance: taken as {quantity}"
    if high <= _REFLECTANCE[1] * 100:
        note += "; if it is reflectance in percent, say so: --scale 100"
    return _Meaning(quantity, plain, "as stored", (note,))


def _by_size(high: float | None) -> str:
    """What numbers are by their 99th percentile."""
    if high is None or high <= _REFLECTANCE[1]:
        return "reflectance"
    return "radiance" if high < _MOST_RADIANCE else "dn"


#: What headers call values.
_CALLED = {
    "reflectance": re.compile(r"reflectance|albedo|percent"),
    "radiance": re.compile(r"radiance|\bw(att)?s?\W*(m|cm)\W*-?2|[uµμm]w\W*cm"),
    "dn": re.compile(r"\bdn\b|digital (number|count)|raw count"),
}


def _said(words: Mapping[str, str]) -> str | None:
    """What the header calls its values; None where it does not say, or says several."""
    for name in ("quantity", "data units", "units", "radiance units", "unit", "z plot titles", "description"):
        text = words.get(name, "").lower()
        found = [quantity for quantity, pattern in _CALLED.items() if pattern.search(text)]
        if len(found) == 1:
            return found[0]
    return None


def _stated_scale(words: Mapping[str, str], where: str) -> float | None:
    text = words.get("reflectance scale factor")
    if text is None:
        return None
    try:
        value = float(text.strip("{} "))
    except ValueError:
        value = math.nan
    if math.isfinite(value) and value > 0:
        return value
    raise InputError(
        f"{short_name(where)} has a reflectance scale factor that is no number above 0",
        code="GS-SCALE",
        details=[f"file: {redact(where)}", f"found: {text[:60]}"],
        hint="correct it in the header, or give the scale: --scale 10000, or scale = 10000 under [scene] in a study",
    )


def _check_reflectance(meaning: _Meaning, sample: _Sample, plain: _Scaling, where: str) -> None:
    """Refuse values that are no reflectance, whether their scale is stated, asked for or missing."""
    high, stored = sample.high(meaning.scaling), sample.high(plain)
    if high is None or _REFLECTANCE[0] <= high <= _REFLECTANCE[1]:
        return
    unscaled = meaning.scaling == plain
    if unscaled and high <= 0:  # nothing but gaps that nobody has marked
        return
    problem = "states a scale that does not give reflectance"
    if meaning.how.endswith(f"({_ASKED})"):
        problem = "does not hold reflectance at the scale asked for"
    elif unscaled and high < _REFLECTANCE[0]:
        problem = "holds values too small for reflectance"
    raise InputError(
        f"{short_name(where)} {problem}",
        code="GS-SCALE",
        details=[
            f"file: {redact(where)}",
            meaning.how,
            f"99th percentile of a sparse sample: stored {stored:.4g}, scaled {high:.4g}; expected: 0.001 to 2",
        ],
        hint=_TOO_SMALL_HINT if unscaled and high < _REFLECTANCE[0] else _SCALE_HINT,
    )


def _refuse_sunlight(meaning: _Meaning, shape: str, where: str) -> None:
    raise InputError(
        f"{short_name(where)} calls reflectance what is radiance or bare counts by its spectra",
        code="GS-QUANTITY",
        details=[f"file: {redact(where)}", meaning.how, shape],
        hint="turn it into reflectance first: geosoil calibrate, or a program for atmospheric correction;\n"
        "where it is reflectance all the same, as of snow and water alone, say its scale: --scale 10000, --scale 1",
    )


def _check_against(asked: _Meaning, told: _Meaning, sample: _Sample, where: str) -> None:
    """Refuse a scale that makes next to nothing of what is reflectance by the file itself."""
    high, own = sample.high(asked.scaling), sample.high(told.scaling)
    if high is None or own is None or told.quantity != "reflectance":
        return
    if high < _DARKEST <= own <= _REFLECTANCE[1]:
        raise InputError(
            f"{short_name(where)} is too dark for reflectance at the scale asked for",
            code="GS-SCALE",
            details=[
                f"file: {redact(where)}",
                f"with --scale: {asked.how}; 99th percentile of a sparse sample {high:.4g}",
                f"without: {told.how}; 99th percentile {own:.4g}",
            ],
            hint="leave --scale out; in a study: scale under [scene]; from Python: scale",
        )


def radiance_factor(text: str) -> float | None:
    """What radiance in a unit is multiplied by to be in W m-2 sr-1 um-1; None where the text names no such unit.

    >>> radiance_factor("uW/(cm^2*sr*nm)"), radiance_factor("W m-2 sr-1 um-1"), radiance_factor("DN")
    (10.0, 1.0, None)
    """
    plain = re.sub(r"\s", "", text.lower().replace("µ", "u").replace("μ", "u"))
    for word, sign in (("micro", "u"), ("milli", "m"), ("watts", "w"), ("watt", "w"), ("umeter", "um"), ("nano", "n")):
        plain = plain.replace(word, sign)
    power = re.search(r"([um]?)w", plain)
    rest = plain[power.end() :] if power else ""
    per = re.search(r"nm|um|ucron", rest)
    if power is None or per is None or "sr" not in rest:
        return None
    watts = {"u": 1e-6, "m": 1e-3, "": 1.0}[power[1]]
    factor = watts * (1e4 if "cm" in rest else 1.0) * (1e3 if per[0] == "nm" else 1.0)
    return float(f"{factor:.6g}")


def _in_our_unit(meaning: _Meaning, sample: _Sample, bands: Bands, words: Mapping[str, str]) -> _Meaning:
    """Radiance in W m-2 sr-1 um-1, by the unit that the header names, else by its size in the visible."""
    title = words.get("z plot titles", "").rpartition(",")[2]
    for text in (*(words.get(name, "") for name in ("data units", "units", "radiance units", "unit")), title):
        factor = radiance_factor(text)
        if factor is not None:
            return _times(meaning, factor, text.strip("{} "))
    visible = [place for place in sample.bands if 500 <= bands.wavelength_nm[place] <= 700]
    high = sample.high(meaning.scaling, visible) if visible else None
    if high is None:
        return _assumed(meaning, 1.0, RADIANCE_UNITS, "no unit of the radiance is stated")
    found = f"no unit of the radiance is stated; between 500 and 700 nm it reaches {high:.3g}"
    if high > _BRIGHT:
        return _assumed(meaning, 1.0, RADIANCE_UNITS, found)
    unit, factor = ("uW cm-2 sr-1 nm-1", 10.0) if high > _DIM else ("W m-2 sr-1 nm-1", 1000.0)
    return _assumed(meaning, factor, unit, found)


def _assumed(meaning: _Meaning, factor: float, unit: str, found: str) -> _Meaning:
    return replace(_times(meaning, factor, unit), notes=(*meaning.notes, f"{found}: taken as {unit}"))


def _times(meaning: _Meaning, factor: float, unit: str) -> _Meaning:
    """Radiance of another unit, of which one is so many of ours."""
    if factor == 1:
        return meaning
    plain = set(meaning.scaling[0]) == {1.0} and set(meaning.scaling[1]) == {0.0}
    before = "value = stored number" if plain else f"{meaning.how}, then"
    scale, offset = (tuple(one * factor for one in part) for part in meaning.scaling)
    return replace(meaning, scaling=(scale, offset), how=f"{before} x {factor:g} (from {unit})")


def _check_byte_order(sample: _Sample, where: str) -> None:
    """Refuse numbers that are absurd as they are read and make sense with their bytes turned round."""
    stored = sample.stored
    if stored.dtype.itemsize == 1 or not stored.size:
        return
    turned = stored.byteswap()
    if stored.dtype.kind == "f":
        wrong = _absurd(stored) > 0.1 and _absurd(turned) < 0.01
    else:
        rough = _roughness(stored, sample.missing)
        wrong = rough > 0.8 and _roughness(turned, sample.missing) < rough / 2
    if not wrong:
        return
    raise InputError(
        f"{short_name(where)} has the other byte order than its header says",
        code="GS-BYTE-ORDER",
        details=[
            f"file: {redact(where)}",
            "its numbers are absurd or noise as they are read, and make sense with their bytes turned round",
        ],
        hint="correct 'byte order' in the header: 0 is little endian, 1 big endian",
    )


def _absurd(values: NDArray[Any]) -> float:
    """Part of the numbers that no instrument measures: not finite, or of an impossible size."""
    with np.errstate(invalid="ignore"):
        size = np.abs(values.astype(np.float64))
        return float(np.mean(~np.isfinite(size) | (size > 1e12) | ((size > 0) & (size < 1e-15))))


def _roughness(values: NDArray[Any], missing: NDArray[np.bool_]) -> float:
    """Mean step from cell to cell against the mean deviation in a band; about 1.3 for noise, little for images."""
    known = np.ma.masked_array(values.astype(np.float64), missing)
    steps = np.ma.abs(known[..., 1:] - known[..., :-1]).compressed()
    spread = np.ma.abs(known - known.mean(axis=(0, 2, 3), keepdims=True)).compressed()
    return float(steps.mean() / spread.mean()) if steps.size and spread.size and spread.mean() > 0 else 0.0
