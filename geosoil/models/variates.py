"""Control variates: what is known of the draws makes their mean steadier, and lets it add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from geosoil.types import Float64

__all__ = ["LEAST", "Steadied", "centre_ways", "steady"]

#: Fewest draws that coefficients can be told from.
LEAST = 16


@dataclass(frozen=True, eq=False)
class Steadied:
    """The mean of draws of contributions.

    Attributes
    ----------
    values : (p,) float64
    variance : float
        Mean over the inputs of the squared standard error of their values; NaN where it is not known.
    """

    values: Float64
    variance: float


def centre_ways(slopes: Tensor, near: Tensor, far: Tensor) -> Tensor:
    """Contributions of draws, as if the rows of the background that were drawn had the mean of all of them.

    A draw's contribution is slope times way, and the way is known on average over the whole background. So the mean
    slope times what the drawn rows lie off that average is taken back; for a linear function nothing is left to chance.

    Parameters
    ----------
    slopes : (n, p) Tensor
        Gradients at the points; overwritten.
    near, far : (p,), (n, p) Tensor
        The sample, and the rows of the background that were drawn, less the mean of the whole background.

    Returns
    -------
    (n, p) Tensor
        Their mean is the estimate.

    >>> slope, far = torch.tensor([[2.0], [2.0]]), torch.tensor([[1.0], [3.0]])
    >>> centre_ways(slope, torch.tensor([5.0]), far).mean().item()
    10.0
    """
    mean = slopes.mean(0)
    found = slopes * near
    found -= slopes.sub_(mean).mul_(far)
    return found


def steady(drawn: Tensor, total: float) -> Steadied:
    """The mean of draws whose sum over the inputs is known to be `total`.

    What the mean lacks of the sum goes to the inputs by how each one's draws vary with the sum of a draw: the
    regression estimator with one control variate (Glasserman 2004, section 4.1). It adds up, and scatters less than the
    plain mean.

    Parameters
    ----------
    drawn : (n, p) Tensor
        Contributions of each draw; overwritten.
    total : float
        Prediction less mean prediction.

    >>> steady(torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]] * 4), 2.0).values.tolist()
    [2.0, 0.0]
    """
    count = len(drawn)
    mean = drawn.mean(0, dtype=torch.float64)
    if count < LEAST:
        return Steadied(mean.numpy(), float("nan"))
    drawn -= mean.to(drawn.dtype)
    along = drawn.sum(1)
    spread = float((along.double() ** 2).sum())
    squares = (drawn**2).sum(0, dtype=torch.float64)
    if spread > 0:
        share = (along @ drawn).double() / spread
        squares = (squares - share**2 * spread).clamp_(min=0)
        mean = mean + share * (total - float(mean.sum()))
    return Steadied(mean.numpy(), float(squares.mean()) / (count - 2) / count)
