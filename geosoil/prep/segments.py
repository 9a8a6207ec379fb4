"""Where along the wavelength axis neighbours are neighbours: runs of bands with equal spacing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from geosoil.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosoil.types import Float64

__all__ = ["EQUAL", "Segments", "check_equal", "equal_segments", "segments"]

#: First band of each segment, and one past its last.
Segments: TypeAlias = tuple[tuple[int, int], ...]

#: Steps that differ less than this share are equal: wavelengths are rounded in files.
EQUAL = 0.05
#: Steps of neighbours that differ by more than this factor are a gap or another detector, and no drift.
_JUMP = 1.3


def segments(wavelength_nm: ArrayLike, *, joins_nm: Sequence[float] = ()) -> Segments:
    """Runs of bands that belong together: cut where wavelengths step back, at gaps, and where the spacing jumps.

    Parameters
    ----------
    wavelength_nm : (p,) array-like
        Wavelengths, nm.
    joins_nm : sequence of float
        Further cuts, such as 1000 and 1830 for the joins of a field spectrometer's detectors.

    >>> segments([400, 404, 408, 412, 405, 413, 421, 445, 453])
    ((0, 4), (4, 7), (7, 9))
    """
    wavelength = np.asarray(wavelength_nm, np.float64)
    steps = np.diff(wavelength)
    cuts = [0]
    for place, step in enumerate(steps, start=1):
        before = steps[place - 2] if place - 1 > cuts[-1] else step
        joined = any(wavelength[place - 1] < join <= wavelength[place] for join in joins_nm)
        if step <= 0 or joined or not 1 / _JUMP <= step / before <= _JUMP:
            cuts.append(place)
    return tuple(zip(cuts, [*cuts[1:], len(wavelength)], strict=True))


def equal_segments(wavelength_nm: ArrayLike, found: Segments) -> Segments:
    """Segments without a first or last band that is off the others' spacing: it is the other detector's.

    >>> equal_segments([400, 404, 408, 412, 416, 419.5], ((0, 6),))
    ((0, 5), (5, 6))
    """
    wavelength = np.asarray(wavelength_nm, np.float64)
    kept: list[tuple[int, int]] = []
    for start, stop in found:
        steps = np.diff(wavelength[start:stop])
        if len(steps) < 3:
            kept.append((start, stop))
            continue
        usual = float(np.median(steps))
        first = start + int(abs(steps[0] - usual) > EQUAL * usual)
        last = stop - int(abs(steps[-1] - usual) > EQUAL * usual)
        kept.extend(one for one in ((start, first), (first, last), (last, stop)) if one[0] < one[1])
    return tuple(kept)


def check_equal(wavelength_nm: Float64, segment: tuple[int, int], step: str) -> float:
    """The spacing of a segment, nm.

    Raises
    ------
    InputError
        ``GS-SPACING`` where it varies.
    """
    start, stop = segment
    steps = np.diff(wavelength_nm[start:stop])
    mean = float(steps.mean())
    if np.abs(steps - mean).max() <= EQUAL * mean:
        return mean
    raise InputError(
        f"step {step} needs equally spaced bands",
        code="GS-SPACING",
        details=[
            f"from {wavelength_nm[start]:g} to {wavelength_nm[stop - 1]:g} nm "
            f"the spacing varies from {steps.min():.3g} to {steps.max():.3g} nm"
        ],
        hint=f'put the spectra on equal steps first, as with "resample(step={np.ceil(steps.max()):g})"',
    )
