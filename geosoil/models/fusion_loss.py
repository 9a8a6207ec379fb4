"""What spectral fusion is trained on: distance of distributions, spectral angle, divergence from the prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from geosoil.types import Float32

__all__ = ["divergence", "kernel_variances", "mmd", "spectral_angle"]

#: Keeps the arc cosine's slope finite where two spectra are parallel.
_EDGE = 1e-7
#: Rows that the median distance is taken over; more change it by less than a kernel's width matters.
_MEDIAN_ROWS = 1000


def divergence(mean: Tensor, spread: Tensor, *, published: bool = False) -> Tensor:
    """Kullback-Leibler divergence of N(mean, exp(spread)) from N(0, 1), mean over the batch.

    Parameters
    ----------
    mean, spread : (n, latent) tensors
        Means and **log-variances** of the latent values.
    published : bool
        The formula as printed by Ou et al., which lacks the factor 1/2.

    >>> float(divergence(torch.zeros(4, 2), torch.zeros(4, 2)))
    0.0
    """
    total = (spread.exp() + mean**2 - 1 - spread).sum(dim=1).mean()
    return total if published else 0.5 * total


def spectral_angle(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean angle between paired spectra (n, p), in radians (Kruse et al. 1993).

    >>> round(float(spectral_angle(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]]))), 4)
    0.7854
    """
    cosine = torch.nn.functional.cosine_similarity(found, wanted, dim=1)
    return torch.arccos(cosine.clamp(-1 + _EDGE, 1 - _EDGE)).mean()


def mmd(found: Tensor, wanted: Tensor, variances: Sequence[float], *, unbiased: bool = False) -> Tensor:
    """Squared maximum mean discrepancy of two sets of spectra, mean over Gaussian kernels (Gretton et al. 2012).

    Parameters
    ----------
    found, wanted : (n, p), (m, p) tensors
    variances : sequence of float
        Squared widths of the kernels ``exp(-d**2 / (2 variance))``.
    unbiased : bool
        Leave the diagonals out: right on average, but it may be negative. Needs two rows on both sides.
    """
    own, other, cross = (_kernel(*pair, variances) for pair in ((found, found), (wanted, wanted), (found, wanted)))
    inner = _off_diagonal_mean if unbiased and min(len(found), len(wanted)) > 1 else torch.mean
    return inner(own) + inner(other) - 2 * cross.mean()


def kernel_variances(spectra: Float32, factors: Sequence[float]) -> tuple[float, ...]:
    """The median squared distance between spectra (n, p), times each factor."""
    rows = np.asarray(spectra, np.float64)
    if len(rows) > _MEDIAN_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, _MEDIAN_ROWS).astype(np.int64)]
    norm = (rows**2).sum(axis=1)
    squared = norm[:, None] + norm - 2 * rows @ rows.T
    median = float(np.median(squared[np.triu_indices(len(rows), 1)]))
    return tuple(max(median, 1e-12) * float(factor) for factor in factors)


def _kernel(one: Tensor, other: Tensor, variances: Sequence[float]) -> Tensor:
    # Centred, since squares of long vectors would eat the digits of short distances.
    centre = other.mean(dim=0, keepdim=True).detach()
    one, other = one - centre, other - centre
    squared = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    squared = squared.clamp(min=0)
    return torch.stack([torch.exp(-squared / (2 * variance)) for variance in variances]).mean(dim=0)


def _off_diagonal_mean(kernel: Tensor) -> Tensor:
    count = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))
