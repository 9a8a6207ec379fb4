"""Sums of exponentials, as kernel machines have them: several at once, which the system's own exponential is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from geosoil.types import Float32

__all__ = ["weighted_exponentials"]

#: log2(e); ln(2) as a number that a few bits hold and the rest; what makes a float32 round to a whole number.
_LOG2E, _LN2, _REST = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
_MAGIC = np.float32(1.5 * 2**23)
#: Below this the exponential of float32 is no normal number, and nothing beside the others.
_LOWEST = np.float32(-87.3)
#: (exp(r) - 1 - r) / r**2 up to ln(2) / 2: minimax coefficients of Cephes (Moshier 1989), highest power first.
_C5, _C4, _C3, _C2, _C1, _C0 = (
    np.float32(one)
    for one in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)
)
#: Bits of `_MAGIC` less the 127 that a float32's exponent has more, and bits that lie below that exponent.
_BITS, _FRACTION = 0x4B400000 - 127, 23


def _power(context: Any, rounded: Any) -> Any:
    """Types of the argument and of the result, and what is compiled for them."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        number = ir.IntType(32)
        whole = builder.sub(builder.bitcast(given[0], number), number(_BITS))
        return builder.bitcast(builder.shl(whole, number(_FRACTION)), ir.FloatType())

    return types.float32(rounded), generate


#: ``_two_to(n + _MAGIC)`` in compiled code is 2**n: the exponent of a float32 is written as such. numba would widen it.
_two_to: Any = intrinsic(_power)


#: A product and the sum that it goes into may be rounded once.
_FUSED = {"contract"}


@njit(cache=True, nogil=True, inline="always", fastmath=_FUSED)
def _exp(x: np.float32) -> np.float32:
    """exp(x) of a float32 that is not above 88, to two units in the last place; NaN stays."""
    inner = x if x > _LOWEST else _LOWEST
    rounded = inner * _LOG2E + _MAGIC
    whole = rounded - _MAGIC
    r = inner - whole * _LN2
    r -= whole * _REST
    p = ((((_C5 * r + _C4) * r + _C3) * r + _C2) * r + _C1) * r + _C0
    value = (p * (r * r) + r + np.float32(1)) * _two_to(rounded)
    return value if x == x else x


@njit(cache=True, nogil=True, fastmath=_FUSED)
def weighted_exponentials(exponents: Float32, weights: Float32, start: np.float32, out: Float32) -> None:
    """``start + weights @ exp(exponents)``.

    Parameters
    ----------
    exponents : (m, n) float32
        None above 88.
    weights : (m,) float32
    start : float32
    out : (n,) float32
        Filled; NaN where an exponent of the column is.
    """
    for j in range(exponents.shape[1]):
        out[j] = start
    for i in range(exponents.shape[0]):
        weight, row = weights[i], exponents[i]
        for j in range(exponents.shape[1]):
            out[j] += weight * _exp(row[j])
