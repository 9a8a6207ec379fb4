"""Striping of push-broom images: found per band and detector element in sensor geometry, and taken off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import maximum_filter, median_filter

from geosoil.errors import UsageError
from geosoil.kernels import destripe as kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float32, Float64

__all__ = ["Destriper", "StripeFit"]

#: Lines of a block, whose medians are kept; fewer for a short image, so that there are some blocks.
_BLOCK = 64
_FEWEST_BLOCKS = 8
#: Fewest lines of a block that count.
_LEAST = 8
#: A gain further from 1 is no stripe but a column that sees something else.
_MOST_GAIN = 0.5
#: Differences further from their median, in median absolute deviations, are edges.
_MOST_OFF = 3.0
#: A single column is believed from here on, in standard deviations of its noise.
_SURE = 3.0
#: A lasting step of more than this many standard deviations of all steps is an edge on the ground.
_EDGE = 4.0
#: All blocks, the even and the odd ones: first and step.
_PARTS = ((0, 1), (0, 2), (1, 2))
#: Normal standard deviation of a median absolute deviation of 1.
_MAD = 1.4826


@dataclass(frozen=True)
class Destriper:
    """Correction of each detector element: value = gain x value + offset.

    Attributes
    ----------
    gain, offset : (p, w) float32
        Of each band and column.
    stripes : (p, w) float32
        What the columns were too bright by at their middle level, after the noise of the estimate was taken off.
    level : (p, w) float32
        That level.
    amount, error : (p,) float32
        Standard deviation (robust) of the stripes along the columns, and the standard error of the estimate, from what
        two halves of the lines disagree by.
    """

    gain: Float32
    offset: Float32
    stripes: Float32
    level: Float32
    amount: Float32
    error: Float32

    def __call__(self, lines: Float32, columns: tuple[int, int] | None = None) -> Float32:
        """Take the stripes off ``(p, n, c)`` values of the given columns (first, one past the last; default: all)."""
        chosen = slice(*columns) if columns is not None else slice(None)
        gain, offset = self.gain[:, chosen], self.offset[:, chosen]
        if lines.shape[0] != gain.shape[0] or lines.shape[2] != gain.shape[1]:
            raise UsageError(
                f"stripes were fitted on {gain.shape} bands and columns, not on {lines.shape[::2]}",
                code="GS-DESTRIPE",
                hint="give whole lines, or name the columns that they hold",
            )
        found = lines * gain[:, None]
        found += offset[:, None]
        return found

    @property
    def striping(self) -> Float32:
        """Amount of the stripes of each band, as a share of its level; ``(p,)``."""
        return (self.amount / self._middle).astype(np.float32)

    @property
    def left(self) -> Float32:
        """What is left of them after the correction, to be expected, as a share of the level; ``(p,)``."""
        together = np.maximum(np.hypot(self.amount, self.error), 1e-12)
        return (self.amount * self.error / together / self._middle).astype(np.float32)

    @property
    def _middle(self) -> Float64:
        return np.maximum(np.abs(np.median(self.level, axis=1).astype(np.float64)), 1e-12)


class StripeFit:
    """Gathers statistics of neighbouring columns over the lines of an image, in one pass.

    The difference of two neighbouring columns, taken over many lines, is the difference of their detector elements:
    a field's edge crosses a pair of columns in few lines, and the medians do not see it. The differences, added up
    along the line, are the profile of the columns; what stands out against its running median is striping. An edge
    that follows a column over the whole image stays, since a running median keeps steps. Medians are taken of blocks
    of lines and then over the blocks (Rousseeuw and Bassett 1990), so that the image is read once. How the difference
    grows with brightness gives the gains, by least squares without the edges.

    What is found is compared between even and odd blocks and shrunk by the noise that the two disagree by, so that an
    image without stripes is left alone.

    Parameters
    ----------
    bands, lines, samples : int
        Of the image; one detector, in sensor geometry.
    window : int
        Width of the running median, columns; stripes up to half as wide are found.

    Raises
    ------
    UsageError
        ``GS-DESTRIPE``: the image is too small, or the window is.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> image = 50 + rng.normal(0, 1, (1, 400, 64)).astype(np.float32)
    >>> image[:, :, 20] += 3
    >>> fit = StripeFit(1, 400, 64)
    >>> fit.add(image)
    >>> fit.fit().stripes[0, 20].round()
    np.float32(3.0)
    """

    def __init__(self, bands: int, lines: int, samples: int, *, window: int = 15) -> None:
        if lines < 2 * _LEAST or samples < 3 or window < 3:
            raise UsageError(
                f"{lines} lines of {samples} samples are too few to tell stripes from the ground (window {window})",
                code="GS-DESTRIPE",
                hint=f"an image wants {2 * _LEAST} lines and 3 samples or more, the window 3 columns or more",
            )
        self.window = window + 1 - window % 2
        self._block = max(_LEAST, min(_BLOCK, lines // _FEWEST_BLOCKS))
        self._waiting = np.empty((bands, self._block, samples), np.float32)
        self._filled = 0
        self._steps: list[Float32] = []
        # Of even and of odd blocks.
        self._sums = np.zeros((2, 4, bands, samples - 1), np.float64)

    def add(self, lines: Float32) -> None:
        """Count in the next lines, ``(p, n, w)`` float32, NaN where there is no data; any number of them."""
        expected = (self._waiting.shape[0], self._waiting.shape[2])
        if lines.ndim != 3 or (lines.shape[0], lines.shape[2]) != expected:
            raise UsageError(
                f"lines of shape {lines.shape} for an image of {expected[0]} bands and {expected[1]} samples",
                code="GS-DESTRIPE",
            )
        start = 0
        while start < lines.shape[1]:
            taken = min(self._block - self._filled, lines.shape[1] - start)
            self._waiting[:, self._filled : self._filled + taken] = lines[:, start : start + taken]
            self._filled += taken
            start += taken
            if self._filled == self._block:
                self._close()

    def _close(self) -> None:
        step = np.empty((self._waiting.shape[0], self._waiting.shape[2] - 1), np.float32)
        sums = self._sums[len(self._steps) % 2]
        kernels.steps(self._waiting[:, : self._filled], _LEAST, _MOST_OFF, step, sums)
        self._steps.append(step)
        self._filled = 0

    def fit(self) -> Destriper:
        """The correction."""
        if self._filled >= _LEAST:
            self._close()
        both = self._sums.sum(axis=0)
        level = self._levels(both[2] / np.maximum(both[3], 1))
        offset, amount, error = _agreed(*(self._stand_out(_medians(self._steps[start::by])) for start, by in _PARTS))
        gain, _, _ = _agreed(*(self._stand_out(_slopes(one)) for one in (both, *self._sums)))
        factor = (1.0 / (1.0 + np.clip(gain, -_MOST_GAIN, _MOST_GAIN))).astype(np.float32)
        return Destriper(factor, level - (level + offset) * factor, offset, level, amount, error)

    def _stand_out(self, between: Float64) -> Float32:
        """Steps between columns, added up, against their running median."""
        steps = np.nan_to_num(between)
        profile = _added_up(steps)
        profile -= _added_up(self._edges(steps, profile))
        return (profile - self._smooth(profile)).astype(np.float32)

    def _edges(self, steps: Float64, profile: Float64) -> Float64:
        """Steps after which the level stays another, where the running median would lean to the other side."""
        half = self.window // 2
        padded = np.pad(profile, ((0, 0), (half - 1, half)), mode="edge")
        sides = np.median(np.lib.stride_tricks.sliding_window_view(padded, half, axis=1), axis=2)
        jump = sides[:, half:][:, : steps.shape[1]] - sides[:, : steps.shape[1]]
        lasting = (np.abs(jump) > _EDGE * _spread(steps)[:, None]) & (jump * steps > 0)
        size = np.where(lasting, np.abs(steps), 0.0)
        # The medians tell that there is an edge, the step itself where.
        return np.where(lasting & (size == maximum_filter(size, size=(1, self.window))), jump, 0.0)

    def _levels(self, mean: Float64) -> Float32:
        columns = np.concatenate([mean[:, :1], 0.5 * (mean[:, 1:] + mean[:, :-1]), mean[:, -1:]], axis=1)
        return self._smooth(columns).astype(np.float32)

    def _smooth(self, profile: Float64) -> Float64:
        found: Float64 = median_filter(profile, size=(1, min(self.window, profile.shape[1])), mode="reflect")
        return found


def _medians(blocks: list[Float32]) -> Float64:
    """Medians over blocks; NaN where no block has one."""
    out = np.empty(blocks[0].shape, np.float32)
    kernels.median_first(np.stack([one.ravel() for one in blocks]), out.reshape(-1))
    return out.astype(np.float64)


def _agreed(found: Float32, even: Float32, odd: Float32) -> tuple[Float32, Float32, Float32]:
    """An estimate, shrunk by its noise; the amount of what it estimates, and of the noise, in each band.

    The mean of two halves is off by half of what they lie apart. A band whose columns all differ is shrunk as a whole
    (Wiener), a column that stands out alone by itself (non-negative garrote, Gao 1998).
    """
    error = 0.5 * _spread(even - odd)
    noise, spread = error[:, None] ** 2, _spread(found)[:, None] ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        band = np.nan_to_num(np.maximum(0.0, 1.0 - noise / spread))
        column = np.nan_to_num(np.maximum(0.0, 1.0 - _SURE**2 * noise / found**2))
    amount = np.sqrt(np.maximum(spread - noise, 0.0))[:, 0]
    shrunk = np.asarray(found * np.maximum(band, column), np.float32)
    return shrunk, amount.astype(np.float32), error.astype(np.float32)


def _added_up(steps: Float64) -> Float64:
    """Profile of the columns from the steps between them; the first is 0."""
    profile = np.zeros((steps.shape[0], steps.shape[1] + 1), np.float64)
    np.cumsum(steps, axis=1, out=profile[:, 1:])
    return profile


def _slopes(sums: Float64) -> Float64:
    """Change of the step with brightness; 0 where a block's brightness hardly varies."""
    product, square, level, blocks = sums
    least = 1e-6 * level**2 / np.maximum(blocks, 1)
    found: Float64 = np.divide(product, square, out=np.zeros_like(product), where=square > least)
    return found


def _spread(values: NDArray[np.floating]) -> Float64:
    """Robust standard deviation along the columns."""
    off = np.abs(values - np.median(values, axis=1, keepdims=True))
    return np.asarray(_MAD * np.median(off, axis=1), np.float64)
