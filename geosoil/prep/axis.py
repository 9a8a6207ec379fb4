"""What each preprocessing step does to the wavelength axis, and the numbers that its kernel takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import factorial
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.errors import InputError, UsageError
from geosoil.kernels import spectral as kernel

from .segments import Segments, check_equal, equal_segments, segments
from .steps import Step

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float64

__all__ = ["LEARN", "PLANS", "Axis", "Operation"]

#: MSC: a slope below this has no shape to correct.
_LEAST_SLOPE = 1e-5
#: SNV: a spread below this many rounding errors of the mean is none.
_ROUNDING = 64.0


@dataclass(frozen=True, eq=False)
class Operation:
    """One step of `kernels.spectral.walk`.

    Attributes
    ----------
    code : int
        Which kernel.
    length : int
        Number of bands after it.
    layout, constants
        Its whole numbers, and its other numbers.
    """

    code: int
    length: int
    layout: Sequence[int] | NDArray[np.int64] = ()
    constants: Float64 = field(default_factory=lambda: np.empty(0))

    def constants_for(self, dtype: type[np.floating[Any]]) -> NDArray[Any]:
        """The constants as a type of float; SNV's is the rounding of that type."""
        if self.code == kernel.SNV:
            return np.array([_ROUNDING * np.finfo(dtype).eps], dtype)
        return self.constants.astype(dtype)


@dataclass(frozen=True, eq=False)
class Axis:
    """The bands between two steps.

    Attributes
    ----------
    wavelength_nm : (p,) float64
        Wavelengths, nm.
    segments : tuple of (int, int)
        Runs of bands that belong together.
    quantity : str
        ``reflectance``, ``absorbance``, or ``other`` once values are centred or differences.
    notes : tuple of str
        Bands that fell away.
    """

    wavelength_nm: Float64
    segments: Segments
    quantity: str = "reflectance"
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, wavelength_nm: Float64, joins_nm: Sequence[float]) -> Axis:
        """The axis of spectra as they come."""
        return cls(wavelength_nm, segments(wavelength_nm, joins_nm=joins_nm))

    def __len__(self) -> int:
        return len(self.wavelength_nm)

    def need(self, step: Step, *quantities: str) -> None:
        """Raise UsageError unless the values are still what a step needs."""
        if self.quantity not in quantities:
            raise UsageError(
                f"preprocessing step {step.name} comes too late",
                code="GS-STEP",
                details=[f"it needs {' or '.join(quantities)}, and the steps before leave {self.quantity} values"],
                hint="put it before snv, detrend, scale and derivatives; absorbance only once",
            )


Plan = tuple[list[Operation], Axis]


def _absorbance(step: Step, axis: Axis, learned: Float64 | None) -> Plan:
    axis.need(step, "reflectance")
    limits = np.array([step.number("floor"), step.number("ceiling")])
    return [Operation(kernel.ABSORBANCE, len(axis), constants=limits)], replace(axis, quantity="absorbance")


def _snv(step: Step, axis: Axis, learned: Float64 | None) -> Plan:
    return [Operation(kernel.SNV, len(axis))], replace(axis, quantity="other")


def _detrend(step: Step, axis: Axis, learned: Float64 | None) -> Plan:
    """SNV, then what a polynomial in wavelength leaves (Barnes, Dhanoa and Lister 1989)."""
    degree = step.whole("degree")
    if degree >= len(axis):
        raise UsageError(f"detrend of degree {degree} leaves nothing of {len(axis)} bands", code="GS-STEP")
    low, high = axis.wavelength_nm.min(), axis.wavelength_nm.max()
    scaled = (2 * axis.wavelength_nm - low - high) / max(high - low, 1e-9)
    basis, _ = np.linalg.qr(np.polynomial.legendre.legvander(scaled, degree))
    more, axis = _snv(step, axis, learned)
    return [*more, Operation(kernel.PROJECT, len(axis), constants=np.ascontiguousarray(basis.T).ravel())], axis


def _savitzky_golay(step: Step, axis: Axis, learned: Float64 | None) -> Plan:
    """Local polynomials (Savitzky and Golay 1964), per nm for derivatives."""
    window, degree, derivative = step.whole("window"), step.whole("degree"), step.whole("derivative")
    middle = _polynomial(window, degree, derivative, window // 2)
    if step.word("edges") == "drop":
        return _windows(step, axis, middle, derivative)
    half = window // 2
    places = (*range(half), *range(half + 1, window))
    ends = [_polynomial(window, degree, derivative, place) for place in places]
    return _windows(step, axis, middle, derivative, ends)


def _polynomial(window: int, degree: int, derivative: int, place: int) -> Float64:
    """Weights of a window that give the derivative, at a place in it, of the polynomial fitted to the window."""
    powers = np.vander(np.arange(window) - place, degree + 1, increasing=True).T.astype(np.float64)
    wanted = np.zeros(degree + 1)
    wanted[derivative] = factorial(derivative)
    return np.asarray(np.linalg.lstsq(powers, wanted, rcond=None)[0], np.float64)


def _gap_derivative(step: Step, axis: Axis, learned: Float64 | None) -> Plan:
    """Differences of segment means over gaps (Norris and Williams 1984), per nm."""
    derivative, gap, width = step.whole("derivative"), step.whole("gap"), step.whole("segment")
    signs = [1.0]
    for _ in range(derivative):
        signs = [a - b for a, b in zip([0.0, *signs], [*signs, 0.0], strict=True)]
    parts = [np.repeat(signs[0], width)]
    for sign in signs[1:]:
        parts += [np.zeros(gap), np.repeat(sign, width)]
    weights = np.concatenate(parts)
    places = np.arange(len(weights)) - len(weights) // 2
    weights *= factorial(derivative) / (weights @ places.astype(float) ** derivative)
    return _windows(step, axis, weights, derivative)


def _moving_average(step: Step, axis: Axis, learned: Float64 | None) -> Plan:
    window = step.whole("window")
    return _windows(step, axis, np.full(window, 1 / window), 0)


def _windows(step: Step, axis: Axis, middle: Float64, derivative: int, ends: Sequence[Float64] = ()) -> Plan:
    """A window that moves along each segment of equal spacing, and never across."""
    width, half = len(middle), len(middle) // 2
    runs = equal_segments(axis.wavelength_nm, axis.segments)
    long = [run for run in runs if run[1] - run[0] >= width]
    notes = [_dropped(step, axis, run, width) for run in runs if run[1] - run[0] < width]
    if not long:
        raise InputError(
            f"no run of equally spaced bands is as long as the window of {step.name}",
            code="GS-WINDOW",
            details=[f"window: {width} bands; longest run: {max(b - a for a, b in runs)} of {len(axis)} bands"],
            hint="take a smaller window, or leave the step out",
        )
    spacing = [check_equal(axis.wavelength_nm, run, step.name) for run in long]
    keep = half if ends else 0
    operations, kept, made = [], [], []
    layout = [width, int(bool(ends))]
    start = 0
    for first, stop in long:
        length = stop - first - 2 * (half - keep)
        layout += [first, start, stop - first - 2 * half]
        kept.append(axis.wavelength_nm[first + half - keep : stop - half + keep])
        made.append((start, start + length))
        start += length
    weights = np.concatenate([middle, *ends])
    operations.append(Operation(kernel.FILTER, start, layout, weights))
    if derivative:
        gains = np.repeat(1 / np.array(spacing) ** derivative, [stop - first for first, stop in made])
        operations.append(Operation(kernel.SCALE, start, constants=np.concatenate([np.zeros(start), gains])))
    quantity = "other" if derivative else axis.quantity
    return operations, Axis(np.concatenate(kept), tuple(made), quantity, (*axis.notes, *notes))


def _dropped(step: Step, axis: Axis, run: tuple[int, int], width: int) -> str:
    low, high = axis.wavelength_nm[run[0]], axis.wavelength_nm[run[1] - 1]
    return f"{step.name}: {run[1] - run[0]} bands from {low:g} to {high:g} nm dropped, fewer than its window of {width}"


def _msc(step: Step, axis: Axis, learned: Float64 | None) -> Plan:
    reference = _fitting(learned, len(axis))
    centred = reference - reference.mean()
    squares = centred @ centred
    if not squares > 0:
        raise InputError("the mean training spectrum is constant, so that MSC has no reference", code="GS-SPECTRA-FLAT")
    constants = np.concatenate([centred / squares, [reference.mean(), _LEAST_SLOPE]])
    return [Operation(kernel.MSC, len(axis), constants=constants)], axis


def _continuum(step: Step, axis: Axis, learned: Float64 | None) -> Plan:
    axis.need(step, "reflectance", "absorbance")
    if not (np.diff(axis.wavelength_nm) > 0).all():
        raise InputError(
            "step continuum needs wavelengths that rise",
            code="GS-SPACING",
            hint="cut the overlap of the detectors first",
        )
    # Wavelengths from the first band on: float32 then has digits to spare.
    constants = np.concatenate([[step.number("floor")], axis.wavelength_nm - axis.wavelength_nm[0]])
    inverted = int(axis.quantity == "absorbance")
    return [Operation(kernel.CONTINUUM, len(axis), [inverted], constants)], replace(axis, quantity="other")


def _scale(step: Step, axis: Axis, learned: Float64 | None) -> Plan:
    constants = _fitting(learned, 2 * len(axis))
    return [Operation(kernel.SCALE, len(axis), constants=constants)], replace(axis, quantity="other")


def _resample(step: Step, axis: Axis, learned: Float64 | None) -> Plan:
    """To multiples of a step, linearly between the bands of a segment."""
    step_nm = step.number("step")
    lower, share, kept, made, notes = [], [], [], [], []
    start = 0
    for first, stop in axis.segments:
        bands = axis.wavelength_nm[first:stop]
        places = np.arange(np.ceil(bands[0] / step_nm - 1e-9), np.floor(bands[-1] / step_nm + 1e-9) + 1) * step_nm
        if len(bands) < 2 or not len(places):
            notes.append(f"resample: {len(bands)} bands from {bands[0]:g} to {bands[-1]:g} nm dropped, too few")
            continue
        left = np.clip(np.searchsorted(bands, places, side="right") - 1, 0, len(bands) - 2)
        lower.append(first + left)
        share.append(np.clip((places - bands[left]) / (bands[left + 1] - bands[left]), 0, 1))
        kept.append(places)
        made.append((start, start + len(places)))
        start += len(places)
    if not kept:
        raise InputError(f"no multiple of {step_nm:g} nm lies between two bands", code="GS-WINDOW")
    operation = Operation(kernel.INTERPOLATE, start, np.concatenate(lower), np.concatenate(share))
    return [operation], Axis(np.concatenate(kept), tuple(made), axis.quantity, (*axis.notes, *notes))


def _fitting(learned: Float64 | None, length: int) -> Float64:
    """What a step learned, when it fits; ValueError else, which a damaged model file leads to."""
    if learned is None or learned.shape != (length,) or not np.isfinite(learned).all():
        raise ValueError("what a step learned does not fit its bands")
    return learned


def _learn_reference(step: Step, spectra: Float64) -> Float64:
    return np.asarray(spectra.mean(axis=0), np.float64)


def _learn_scale(step: Step, spectra: Float64) -> Float64:
    """Centres, then gains; a band that is constant in training is centred only."""
    centre = spectra.mean(axis=0)
    if step.word("by") == "none":
        return np.concatenate([centre, np.ones_like(centre)])
    spread = spectra.std(axis=0, ddof=1) if len(spectra) > 1 else np.zeros_like(centre)
    steady = spread <= _ROUNDING * np.finfo(np.float64).eps * np.abs(centre)
    return np.concatenate([centre, 1 / np.where(steady, 1.0, spread)])


#: By name: the operations of a step, and the axis after it.
PLANS: dict[str, Callable[[Step, Axis, Float64 | None], Plan]] = {
    "absorbance": _absorbance,
    "snv": _snv,
    "detrend": _detrend,
    "sg": _savitzky_golay,
    "gapder": _gap_derivative,
    "movav": _moving_average,
    "msc": _msc,
    "continuum": _continuum,
    "scale": _scale,
    "resample": _resample,
}
#: What a step learns from training spectra as they reach it.
LEARN: dict[str, Callable[[Step, Float64], Float64]] = {"msc": _learn_reference, "scale": _learn_scale}
