"""Spectra at other wavelengths: what a sensor's bands see, straight lines between bands, and detectors joined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import median_filter
from scipy.special import ndtr

from geosoil.errors import InputError, listing
from geosoil.kernels.spectral import splice as splice_kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from geosoil.bands import Bands
    from geosoil.types import Float64

__all__ = ["SPLICE_NM", "band_weights", "gaussian_weights", "linear_weights", "on_bands", "resample", "splice_correct"]

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
#: Wavelengths are the same within this, nm: headers of tables are often rounded to a tenth.
_SAME_NM = 0.05


def gaussian_weights(source_nm: ArrayLike, centre_nm: ArrayLike, fwhm_nm: ArrayLike) -> Float64:
    """What each band of a sensor sees of a finer spectrum, by a Gaussian response.

    The response is integrated over the straight lines between the bands of the source, so that these may be spaced as
    they like: spectra that are straight lines keep their values at the centres, and a band that is narrower than the
    spacing takes the straight line between its neighbours. Gaps of the source count as not covered.

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
    whole = ~_gaps(source)
    left, right = _shares(source, centre[:, None], fwhm[:, None] / _FWHM)
    weights = np.zeros((len(centre), len(source)))
    weights[:, :-1] += left * whole
    weights[:, 1:] += right * whole
    covered = weights.sum(axis=1)
    place = np.clip(np.searchsorted(source, centre, side="right") - 1, 0, len(source) - 2)
    bad = ~((centre >= source[0]) & (centre <= source[-1]) & whole[place] & (covered >= _COVERED))
    if bad.any():
        raise _not_covered(centre[bad], source)
    return np.asarray(weights / covered[:, None], np.float64)


def _shares(source: Float64, centre: Float64, sigma: Float64) -> tuple[Float64, Float64]:
    """The response's share of each interval of the source, split between the two bands at its ends: both (b, p - 1)."""
    reach = _REACH * sigma
    low, high = (
        np.clip(source[:-1], centre - reach, centre + reach),
        np.clip(source[1:], centre - reach, centre + reach),
    )
    from_centre, to_centre = (low - centre) / sigma, (high - centre) / sigma
    area = ndtr(to_centre) - ndtr(from_centre)
    density = (np.exp(-0.5 * to_centre**2) - np.exp(-0.5 * from_centre**2)) / np.sqrt(2 * np.pi)
    width = np.diff(source)
    left = ((source[1:] - centre) * area + sigma * density) / width
    return np.maximum(left, 0.0), np.maximum(area - left, 0.0)


def _gaps(source: Float64) -> NDArray[np.bool_]:
    """Which intervals of the source are gaps: much wider than is usual round them."""
    steps = np.diff(source)
    return np.asarray(steps > _GAP * median_filter(steps, size=5, mode="nearest"))


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


def on_bands(spectra: Float64, source_nm: Float64, bands: Bands) -> Float64:
    """Spectra as a sensor of these bands would see them: by its widths where they are known, else linearly.

    Parameters
    ----------
    spectra : (n, p) float64
        Spectra of finer or of the same bands.
    source_nm : (p,) float64
        Their wavelengths, nm; rising.
    bands : Bands
        With wavelengths.

    Returns
    -------
    (n, b) float64

    Raises
    ------
    InputError
        ``GS-RESAMPLE``: the spectra do not cover a band.
    """
    centres = np.asarray(bands.wavelength_nm, np.float64)
    if len(source_nm) == len(centres) and np.allclose(source_nm, centres, atol=_SAME_NM):
        return spectra
    return np.asarray(resample(spectra, band_weights(source_nm, bands)), np.float64)


def band_weights(source_nm: ArrayLike, bands: Bands) -> Float64:
    """What bands see of a finer spectrum (b, p): by their widths where all are known, else on straight lines.

    Raises
    ------
    InputError
        ``GS-RESAMPLE``: the source does not cover a band.
    """
    centres, widths = np.asarray(bands.wavelength_nm, np.float64), np.asarray(bands.fwhm_nm, np.float64)
    if len(widths) and (widths > 0).all():
        return gaussian_weights(source_nm, centres, widths)
    return linear_weights(source_nm, centres)


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
    holes = [f"{source[place]:g} to {source[place + 1]:g}" for place in np.flatnonzero(_gaps(source))]
    return InputError(
        f"{len(bands)} bands are not covered by the spectra",
        code="GS-RESAMPLE",
        details=[
            f"bands at nm: {listing([f'{one:g}' for one in bands])}",
            f"the spectra reach from {source[0]:g} to {source[-1]:g} nm",
            *([f"they have no bands from {listing(holes)} nm"] if holes else []),
        ],
        hint="leave these bands out, such as by windows or drop under [spectra] in a study; nothing is extrapolated",
    )


def _linear(source: Float64, target: Float64) -> Float64:
    left = np.clip(np.searchsorted(source, target, side="right") - 1, 0, len(source) - 2)
    share = (target - source[left]) / (source[left + 1] - source[left])
    weights = np.zeros((len(target), len(source)))
    here = np.arange(len(target))
    weights[here, left] = 1 - share
    weights[here, left + 1] = share
    return weights
