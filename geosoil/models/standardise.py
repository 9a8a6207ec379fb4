"""Linear translators of satellite to laboratory spectra: the established ways to transfer a calibration."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from chemotools.adaptation import DirectStandardization, PiecewiseDirectStandardization
from chemotools.projection import ExternalParameterOrthogonalization
from sklearn.cross_decomposition import PLSRegression

from geosoil.prep.split import random_folds

if TYPE_CHECKING:
    from geosoil.types import Float64, Int64

__all__ = ["direct", "orthogonal", "partial_least_squares", "piecewise"]

#: Folds and most components of the search for a component count.
_FOLDS, _MOST = 5, 30

Affine = tuple["Float64", "Float64"]


def direct(satellite: Float64, laboratory: Float64) -> Affine:
    """Direct standardisation (Wang et al. 1991): one least-squares map of all bands at once.

    With fewer pairs than bands it fits the training pairs exactly, and their noise with them.

    Parameters
    ----------
    satellite, laboratory : (n, p) float64
        Spectra of the same samples.

    Returns
    -------
    matrix : (p, p) float64
    offset : (p,) float64
        ``satellite @ matrix + offset`` is like the laboratory.
    """
    near, far = satellite.mean(axis=0), laboratory.mean(axis=0)
    fitted = DirectStandardization().fit(satellite - near, X_source=laboratory - far)
    matrix = np.asarray(fitted.V_ds_ @ fitted.B_ds_, np.float64)
    return matrix, far - near @ matrix


def piecewise(satellite: Float64, laboratory: Float64, *, window: int, components: int) -> Affine:
    """Piecewise direct standardisation (Wang et al. 1991): each band from a window round it, by PLS.

    Parameters
    ----------
    window : int
        Bands taken on each side.
    components : int
        Of each window's PLS.

    Returns
    -------
    matrix, offset
        As `direct` gives them; the matrix is banded.
    """
    window = min(window, satellite.shape[1] - 1)
    count = min(components, window + 1)
    fitted = PiecewiseDirectStandardization(window_length=window, n_components=count, scale=False)
    fitted.fit(satellite, X_source=laboratory)
    return np.asarray(fitted.T_, np.float64), np.asarray(fitted.bias_, np.float64)


def orthogonal(satellite: Float64, laboratory: Float64, *, components: int) -> Affine:
    """External parameter orthogonalisation (Roger et al. 2003): the directions in which the pairs differ are removed.

    The differences are not centred, so that their mean, which all pairs share, is removed too.

    Parameters
    ----------
    components : int
        Directions that are removed.

    Returns
    -------
    matrix, offset
        As `direct` gives them; the matrix is a projection, and applies to laboratory spectra as well.
    """
    count = len(satellite)
    both, samples = np.vstack([satellite, laboratory]), np.tile(np.arange(count), 2)
    fitted = ExternalParameterOrthogonalization(n_components=components)
    fitted.fit(both, X_external=both, sample_ids=samples)
    basis = np.asarray(fitted.V_epo_, np.float64)
    matrix = np.eye(satellite.shape[1]) - basis @ basis.T
    return matrix, fitted.mean_X_ @ basis @ basis.T


def partial_least_squares(
    satellite: Float64, laboratory: Float64, *, components: int | None, groups: Int64, seed: int
) -> Affine:
    """PLS from all satellite bands to all laboratory bands.

    Parameters
    ----------
    components : int, optional
        None: the count that reproduces held-out laboratory spectra best.
    groups : (n,)
        Pairs of one group share a fold of that search.

    Returns
    -------
    matrix, offset
        As `direct` gives them.
    """
    count = components or _least_error(satellite, laboratory, groups, seed)
    return _pls(satellite, laboratory, [count])[0]


def _least_error(satellite: Float64, laboratory: Float64, groups: Int64, seed: int) -> int:
    folds = random_folds(groups, min(_FOLDS, len(np.unique(groups))), seed)
    smallest = min(int((folds != one).sum()) for one in np.unique(folds))
    tried = list(range(1, min(_MOST, smallest - 1, satellite.shape[1]) + 1))
    error = np.zeros(len(tried))
    for one in np.unique(folds):
        out = folds == one
        for place, (matrix, offset) in enumerate(_pls(satellite[~out], laboratory[~out], tried)):
            error[place] += float(((satellite[out] @ matrix + offset - laboratory[out]) ** 2).sum())
    return tried[int(np.argmin(error))]


def _pls(satellite: Float64, laboratory: Float64, counts: list[int]) -> list[Affine]:
    """The maps of several component counts; components nest, so the largest is fitted once."""
    most = min(max(counts), len(satellite) - 1, satellite.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # components beyond the rank are zero, which is no harm
        fitted = PLSRegression(most, scale=False).fit(satellite, laboratory)
    near, far = satellite.mean(axis=0), laboratory.mean(axis=0)
    found = []
    for count in counts:
        matrix = fitted.x_rotations_[:, :count] @ fitted.y_loadings_[:, :count].T
        found.append((np.asarray(matrix, np.float64), far - near @ matrix))
    return found
