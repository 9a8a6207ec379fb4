"""Spectra at other wavelengths: what a sensor's bands see, straight lines between bands, and detectors joined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.errors import InputError, listing
from geosoil.kernels.spectral import splice as splice_kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from geosoil.types import Float64

__all__ = ["SPLICE_NM", "gaussian_weights", "linear_weights", "resample", "splice_correct"]

#: Joins of the three detectors of field spectrometers, nm.
SPLICE_NM = (1000.0, 1830.0)

#: FWHM of a Gaussian, in standard deviations.
_FWHM = 2 * np.sqrt(2 * np.log(2))
#: Widest part of a response that counts, in standard deviations.
_REACH = 4.0
#: Least share of a response that the source has to cover.
_COVERED = 0.9
#: An interval of the source that is this many times the usual one is a gap.
_GAP = 2.5
#: Spectra that are resampled at a time.
_ROWS = 4096


def gaussian_weights(source_nm: ArrayLike, centre_nm: ArrayLike, fwhm_nm: ArrayLike) -> Float64:
    """What each band of a sensor sees of a finer spectrum, by a Gaussian response.

    Weights take the spacing of the source into account, so that it may vary, and sum to 1 for each band: a flat
    spectrum stays as it is. A band that is narrower than the source's spacing takes the straight line between its
    neighbours, but never across a gap.

    Parameters
    ----------
    source_nm : (p,) array-like
        Wavelengths of the source, nm; rising.
    centre_nm, fwhm_nm : (b,) array-like
        Centres of the sensor's bands and full widths at half maximum, nm; one width may stand for all.

    Returns
    -------
    (b, p) float64
        ``spectra @ weights.T`` are the sensor's bands.

    Raises
    ------
    InputError
        ``GS-RESAMPLE``: the source does not cover a band, or wavelengths or widths are not what they should be.

    >>> weights = gaussian_weights(range(400, 701), [500.0, 600.0], 10.0)
    >>> weights.shape, weights.sum(axis=1).round(12).tolist()
    ((2, 301), [1.0, 1.0])
    """
    source, centre = _rising(source_nm), np.atleast_1d(np.asarray(centre_nm, np.float64))
    fwhm = np.broadcast_to(np.asarray(fwhm_nm, np.float64), centre.shape)
    if not (np.isfinite(fwhm).all() and (fwhm > 0).all()):
        raise InputError("widths of bands (FWHM) are missing or not positive", code="GS-RESAMPLE")
    sigma = fwhm / _FWHM
    distance = (source[None, :] - centre[:, None]) / sigma[:, None]
    response = np.where(np.abs(distance) <= _REACH, np.exp(-0.5 * distance**2), 0.0)
    weights = response * _spacing(source)[None, :]
    # A response that is whole has an area of sigma sqrt(2 pi); what lies outside of the source is missing from it.
    covered = weights.sum(axis=1) / (sigma * np.sqrt(2 * np.pi))
    usual, interval = _around(source, centre)
    narrow = fwhm < 1.5 * usual
    inside = (centre >= source[0]) & (centre <= source[-1]) & (interval <= _GAP * usual)
    bad = ~inside | (~narrow & (covered < _COVERED))
    if bad.any():
        raise _not_covered(centre[bad], source)
    weights[narrow] = _linear(source, centre[narrow])
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float64)


def linear_weights(source_nm: ArrayLike, target_nm: ArrayLike) -> Float64:
    """Straight lines between the bands of a source, as a matrix; gaps of the source are bridged.

    Parameters
    ----------
    source_nm, target_nm : (p,), (b,) array-like
        Wavelengths, nm; those of the source rising.

    Returns
    -------
    (b, p) float64
        ``spectra @ weights.T`` are the spectra at the targets.

    Raises
    ------
    InputError
        ``GS-RESAMPLE``: a target lies outside of the source; nothing is extrapolated.

    >>> linear_weights([400, 410], [400, 402.5])
    array([[1.  , 0.  ],
           [0.75, 0.25]])
    """
    source, target = _rising(source_nm), np.atleast_1d(np.asarray(target_nm, np.float64))
    outside = ~((target >= source[0]) & (target <= source[-1]))
    if outside.any():
        raise _not_covered(target[outside], source)
    return _linear(source, target)


def resample(spectra: ArrayLike, weights: Float64) -> NDArray[Any]:
    """Apply a matrix of weights.

    Only the bands that a target uses are read, so that a missing value elsewhere does no harm.

    Parameters
    ----------
    spectra : (n, p) array-like
        float32 stays float32.
    weights : (b, p) float64
        From `gaussian_weights` or `linear_weights`.

    Returns
    -------
    (n, b) float32 or float64
        NaN where a band with weight is missing.
    """
    rows = np.asarray(spectra)
    if rows.ndim != 2 or rows.shape[1] != weights.shape[1]:
        raise InputError(
            f"spectra of shape {rows.shape} do not fit weights for {weights.shape[1]} bands", code="GS-SPECTRA-SHAPE"
        )
    dtype = np.dtype(np.float32) if rows.dtype == np.float32 else np.dtype(np.float64)
    out = np.empty((len(rows), len(weights)), dtype)
    used = weights.T.astype(np.float64)
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS].astype(np.float64)
        gaps = ~np.isfinite(part)
        found = np.where(gaps, 0.0, part) @ used
        if gaps.any():
            found[(gaps.astype(np.float64) @ (used != 0)) > 0] = np.nan
        out[start : start + len(part)] = found
    return out


def splice_correct(spectra: ArrayLike, wavelength_nm: ArrayLike, joins_nm: Sequence[float] = SPLICE_NM) -> NDArray[Any]:
    """Take out the steps at the joins of a field spectrometer's three detectors.

    The outer detectors are shifted to the middle one, which is temperature-stabilised: ten of its bands, carried on by
    a straight line, say where the next band should lie.

    Parameters
    ----------
    spectra : (n, p) array-like
        Reflectance.
    wavelength_nm : (p,) array-like
        Wavelengths, nm; rising.
    joins_nm : two floats
        Last wavelength of the first and of the second detector, nm.

    Returns
    -------
    (n, p) array
        A copy; float32 stays float32.
    """
    wavelength = _rising(wavelength_nm)
    rows = np.array(spectra, np.float32 if np.asarray(spectra).dtype == np.float32 else np.float64, order="C")
    if rows.ndim != 2 or rows.shape[1] != len(wavelength):
        raise InputError(f"spectra of shape {rows.shape} do not fit {len(wavelength)} bands", code="GS-SPECTRA-SHAPE")
    if len(joins_nm) != 2 or joins_nm[0] >= joins_nm[1]:
        raise InputError(
            "three detectors have two joins", code="GS-RESAMPLE", details=[f"found: {listing(list(joins_nm))}"]
        )
    splice_kernel(rows, wavelength, np.searchsorted(wavelength, joins_nm, side="right").astype(np.int64))
    return rows


def _rising(wavelength_nm: ArrayLike) -> Float64:
    found = np.ascontiguousarray(wavelength_nm, np.float64)
    if found.ndim != 1 or len(found) < 2 or not np.isfinite(found).all() or not (np.diff(found) > 0).all():
        raise InputError(
            "wavelengths of the source have to rise",
            code="GS-RESAMPLE",
            hint="cut the overlap of detectors first, and leave bands without a wavelength out",
        )
    return found


def _not_covered(bands: Float64, source: Float64) -> InputError:
    return InputError(
        f"{len(bands)} bands are not covered by the spectra",
        code="GS-RESAMPLE",
        details=[
            f"bands at nm: {listing([f'{one:g}' for one in bands])}",
            f"the spectra reach from {source[0]:g} to {source[-1]:g} nm",
        ],
        hint="leave these bands out; nothing is extrapolated",
    )


def _spacing(source: Float64) -> Float64:
    """Width of wavelengths that each band of the source stands for, nm; at a gap, as if there was none."""
    steps = np.diff(source)
    left, right = np.r_[steps[0], steps], np.r_[steps, steps[-1]]
    return np.asarray((np.minimum(left, 2 * right) + np.minimum(right, 2 * left)) / 2, np.float64)


def _around(source: Float64, centre: Float64) -> tuple[Float64, Float64]:
    """Usual spacing of the source round other wavelengths, and the interval that they lie in, nm."""
    left = np.clip(np.searchsorted(source, centre, side="right") - 1, 0, len(source) - 2)
    spacing = _spacing(source)
    return np.minimum(spacing[left], spacing[left + 1]), source[left + 1] - source[left]


def _linear(source: Float64, target: Float64) -> Float64:
    left = np.clip(np.searchsorted(source, target, side="right") - 1, 0, len(source) - 2)
    share = (target - source[left]) / (source[left + 1] - source[left])
    weights = np.zeros((len(target), len(source)))
    here = np.arange(len(target))
    weights[here, left] = 1 - share
    weights[here, left + 1] = share
    return weights
