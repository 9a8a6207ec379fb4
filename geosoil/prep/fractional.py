"""Derivatives of spectra of fractional order, after Gruenwald and Letnikov."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import toeplitz

from geosoil.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosoil.types import Float64

__all__ = ["fractional_derivative", "weights"]


def weights(order: float, count: int) -> Float64:
    """Weights of a band and of those before it, ``(-1)**k binomial(order, k)`` for k below `count`.

    >>> weights(0.5, 4).tolist()
    [1.0, -0.5, -0.125, -0.0625]
    """
    k = np.arange(1, count)
    found: Float64 = np.cumprod(np.concatenate([[1.0], 1 - (order + 1) / k]))
    return found


def fractional_derivative(X: ArrayLike, order: float, *, step: float = 1.0, pieces: Sequence[int] = ()) -> Float64:
    """Derivative along the bands.

    Order 0 gives the spectra, order 1 the backward difference, order 2 that of the difference; what lies between shades
    from one into the other (Podlubny 1999). Before the first band the spectrum counts as zero, as is the custom with
    soil spectra, so the first bands of an order above 0 say little.

    Parameters
    ----------
    X : (n, p) array-like
        Spectra on bands of equal distance.
    order : float
        0 or more.
    step : float
        Distance of the bands; the unit that the derivative is by.
    pieces : sequence of int
        Numbers of bands of the spectra that lie one after the other in a row; one spectrum by default. Each has its own
        derivative.

    Raises
    ------
    UsageError
        ``GS-FRACTIONAL``: a negative order or step, or pieces that do not make up the row.

    >>> fractional_derivative([[1.0, 3.0, 6.0]], 1).tolist()
    [[1.0, 2.0, 3.0]]
    """
    X = np.asarray(X, np.float64)
    pieces = tuple(pieces) or (X.shape[-1],)
    if order < 0 or step <= 0 or min(pieces) < 1 or sum(pieces) != X.shape[-1]:
        raise UsageError(
            f"a derivative of order {order:g} with step {step:g} is not possible",
            code="GS-FRACTIONAL",
            details=[f"found: {X.shape[-1]} bands in pieces of {', '.join(str(one) for one in pieces)}"],
        )
    out = np.empty_like(X)
    start = 0
    for count in pieces:
        here = slice(start, start + count)
        lower = toeplitz(weights(order, count), np.zeros(count))
        out[..., here] = X[..., here] @ lower.T * step**-order
        start += count
    return out
