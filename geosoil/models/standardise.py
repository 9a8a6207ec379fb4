"""Linear translators of satellite to laboratory spectra: the established ways to transfer a calibration."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from chemotools.adaptation import DirectStandardization, PiecewiseDirectStandardization
from chemotools.projection import ExternalParameterOrthogonalization

from geosoil.prep.split import random_folds

if TYPE_CHECKING:
    from geosoil.types import Float64, Int64

__all__ = ["Affine", "direct", "orthogonal", "partial_least_squares", "piecewise", "shrunken", "weighted"]

#: Folds and most components of the search for a component count.
_FOLDS, _MOST = 5, 30
#: Penalties that are tried, in units of the mean squared length of a centred satellite spectrum.
_PENALTIES = 10.0 ** np.arange(-7, 0.1, 0.5)
_EPS = float(np.finfo(np.float64).eps)

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


def shrunken(
    satellite: Float64, laboratory: Float64, *, penalty: float | None = None, groups: Int64 | None = None
) -> Affine:
    """Direct standardisation with a ridge penalty: bands that carry noise are leaned on less.

    What a pair shares with no other pair is noise of the sensor, or cannot be told from it; the penalty keeps the map
    from reproducing it. With a penalty of nothing it is direct standardisation.

    Parameters
    ----------
    penalty : float, optional
        In units of the mean squared length of the centred satellite spectra, so that it does not depend on theirs.
        None: the one that reproduces the laboratory spectra of left-out groups best, in closed form.
    groups : (n,), optional
        Pairs of one group are left out together; None: each pair alone.

    Returns
    -------
    matrix, offset
        As `direct` gives them.

    References
    ----------
    Hoerl and Kennard 1970; left-out residuals as in Golub, Heath and Wahba 1979.
    """
    near, far = satellite.mean(axis=0), laboratory.mean(axis=0)
    y = laboratory - far
    turned, root, basis = np.linalg.svd(satellite - near, full_matrices=False)
    rank = root > max(satellite.shape) * np.finfo(np.float64).eps * max(float(root.max()), 1e-300)
    turned, root, basis = turned[:, rank], root[rank], basis[rank]
    unit = float((root**2).sum()) / len(y)
    if penalty is None:
        names = np.arange(len(y)) if groups is None else groups
        errors = [_left_out_error(_kept(root, one * unit), turned, y, names) for one in _PENALTIES]
        penalty = float(_PENALTIES[int(np.argmin(errors))])
    matrix = (basis.T * (_kept(root, penalty * unit) / root)) @ (turned.T @ y)
    return matrix, far - near @ matrix


def _kept(root: Float64, penalty: float) -> Float64:
    """Share of each direction that the penalty leaves."""
    return root**2 / (root**2 + penalty)


def _left_out_error(share: Float64, turned: Float64, y: Float64, groups: Int64) -> float:
    """Sum of squared residuals of groups that the fit did not see: ``(I - H_gg)^-1`` times those of the fit."""
    residual = y - turned @ (share[:, None] * (turned.T @ y))
    _, place, size = np.unique(groups, return_inverse=True, return_counts=True)
    alone = size[place] == 1
    left = 1 - 1 / len(y) - (turned**2 * share).sum(axis=1)
    total = float(((residual[alone] / np.maximum(left[alone], _EPS)[:, None]) ** 2).sum())
    order = np.argsort(place, kind="stable")
    for count in np.unique(size[size > 1]):
        # Groups of one size are solved together, (groups, count, count).
        own = order[size[place[order]] == count].reshape(-1, count)
        hat = (turned[own] * share) @ turned[own].transpose(0, 2, 1) + 1 / len(y)
        inverse = np.linalg.pinv(np.eye(count) - hat, rcond=_EPS * count, hermitian=True)
        total += float(((inverse @ residual[own]) ** 2).sum())
    return total


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


def weighted(satellite: Float64, laboratory: Float64, *, penalty: float) -> Affine:
    """Generalised least squares weighting (Martens et al. 2003): directions in which the pairs differ are held down.

    Each by as much as it differs, where orthogonalisation removes some and leaves the rest. The differences are not
    centred, so that their mean, which all pairs share, is held down too.

    Parameters
    ----------
    penalty : float
        Mean squared difference along a direction that is held down to ``sqrt(1 / 2)``, in units of the mean squared
        length of all centred spectra.

    Returns
    -------
    matrix, offset
        As `direct` gives them; the matrix applies to laboratory spectra as well, whose mean stays where it is.
    """
    _, root, basis = np.linalg.svd(satellite - laboratory, full_matrices=False)
    both = np.vstack([satellite, laboratory])
    unit = max(float(((both - both.mean(axis=0)) ** 2).sum(axis=1).mean()), 1e-300)
    share = (1 + root**2 / (len(satellite) * penalty * unit)) ** -0.5
    matrix = np.eye(satellite.shape[1]) + (basis.T * (share - 1)) @ basis
    centre = laboratory.mean(axis=0)
    return matrix, centre - centre @ matrix


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
    from sklearn.cross_decomposition import PLSRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # components beyond the rank are zero, which is no harm
        fitted = PLSRegression(most, scale=False).fit(satellite, laboratory)
    near, far = satellite.mean(axis=0), laboratory.mean(axis=0)
    found = []
    for count in counts:
        matrix = fitted.x_rotations_[:, :count] @ fitted.y_loadings_[:, :count].T
        found.append((np.asarray(matrix, np.float64), far - near @ matrix))
    return found
