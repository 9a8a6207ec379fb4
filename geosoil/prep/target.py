"""Skewed targets: transform before fitting, and back without bias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from geosoil.errors import InputError, ModelError
from geosoil.kernels.lookup import look_up

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosoil.types import Float32, Float64

__all__ = ["KINDS", "BackTransform", "TargetTransform"]

KINDS = ("none", "log", "log1p", "log10", "sqrt", "boxcox", "yeo-johnson")

#: Knots of the table that stands for a smeared back-transformation without a closed form.
_KNOTS = 4097
#: Half-width of that table, in spreads of the training values on the transformed scale.
_REACH = 6.0
#: Powers below are none: SciPy's Box-Cox takes the logarithm from here on.
_NO_POWER = 1e-19


@dataclass(frozen=True)
class BackTransform:
    """From the transformed scale to the property's unit, for whole tiles; elementwise, so that tiles do not matter.

    Attributes
    ----------
    knots, values : (k,) float64
        A monotone table, linear between the knots and constant beyond.
    lowest, highest : float
        Results are held within these limits of the property.
    """

    knots: Float64
    values: Float64
    lowest: float = -np.inf
    highest: float = np.inf

    def __call__(self, scaled: Float32, out: Float32 | None = None) -> Float32:
        """Values in the property's unit; NaN stays."""
        if out is None:
            out = np.empty(np.shape(scaled), np.float32)
        x = np.ascontiguousarray(scaled, np.float32).reshape(-1)
        found = out.reshape(-1) if out.flags.c_contiguous else np.empty(x.size, np.float32)
        look_up(x, self.knots, self.values, self._slopes, self.lowest, self.highest, found)
        if not out.flags.c_contiguous:
            out[...] = found.reshape(out.shape)
        return out

    @cached_property
    def _slopes(self) -> Float64:
        with np.errstate(all="ignore"):  # of a table without width, and of one that reaches infinity
            return np.diff(self.values) / np.diff(self.knots)


@dataclass(frozen=True)
class TargetTransform:
    """A transform with the constants that training values gave it.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    offset : float
        Added before a logarithm or Box-Cox: half the smallest positive training value where there are zeros.
    power : float
        Lambda of Box-Cox and Yeo-Johnson.
    centre, spread : float
        Mean and SD of the training values on the transformed scale; they bound the back-transformation's table.
    """

    kind: str
    offset: float = 0.0
    power: float = 1.0
    centre: float = 0.0
    spread: float = 1.0

    @classmethod
    def fit(cls, values: ArrayLike, kind: str = "none") -> TargetTransform:
        """Find the constants.

        Raises
        ------
        InputError
            ``GS-TRANSFORM``: the values do not go with the transform: negative under a logarithm, a root or Box-Cox,
            or all equal under a fitted power.
        """
        y = np.asarray(values, np.float64)
        if kind not in KINDS:
            raise InputError(f"transform {kind!r} is not known", code="GS-TRANSFORM", details=[", ".join(KINDS)])
        if kind in {"log", "log1p", "log10", "sqrt", "boxcox"} and (y < 0).any():
            raise InputError(
                f"{int((y < 0).sum())} values are negative, which transform {kind!r} does not take",
                code="GS-TRANSFORM",
                hint="take yeo-johnson or none",
            )
        if kind in {"boxcox", "yeo-johnson"} and np.ptp(y) == 0:
            raise InputError(
                f"all values are {y[0]:g}, which leaves {kind} undefined", code="GS-TRANSFORM", hint="take none"
            )
        offset = 0.0
        if kind in {"log", "log10", "boxcox"} and (y == 0).any():
            positive = y[y > 0]
            if not positive.size:
                raise InputError(f"all values are 0, which {kind} does not take", code="GS-TRANSFORM")
            offset = 0.5 * float(positive.min())
        bare = cls(kind, offset, _power(y + offset, kind))
        z = bare.forward(y)
        return replace(bare, centre=float(z.mean()), spread=max(float(z.std()), 1e-9))

    def forward(self, values: ArrayLike) -> Float64:
        """To the transformed scale."""
        y = np.asarray(values, np.float64)
        match self.kind:
            case "log":
                return np.log(y + self.offset)
            case "log10":
                return np.log10(y + self.offset)
            case "log1p":
                return np.log1p(y)
            case "sqrt":
                return np.sqrt(y)
            case "boxcox":
                return np.asarray(special.boxcox(y + self.offset, self.power), np.float64)
            case "yeo-johnson":
                return self._yeojohnson(y)
        return y.copy()

    def inverse(self, scaled: ArrayLike) -> Float64:
        """Back, without correction: the median, not the mean, of a skewed target."""
        z = np.asarray(scaled, np.float64)
        match self.kind:
            case "log":
                return np.exp(z) - self.offset
            case "log10":
                return 10.0**z - self.offset
            case "log1p":
                return np.expm1(z)
            case "sqrt":
                return np.maximum(z, 0.0) ** 2
            case "boxcox":
                return self._inverse_boxcox(z) - self.offset
            case "yeo-johnson":
                return self._inverse_yeojohnson(z)
        return z.copy()

    def _yeojohnson(self, y: Float64) -> Float64:
        # Two Box-Cox curves of 1 + |y|, mirrored at zero (Yeo & Johnson 2000).
        up = special.boxcox1p(np.maximum(y, 0), self.power)
        down = special.boxcox1p(np.maximum(-y, 0), 2 - self.power)
        return np.asarray(np.where(y >= 0, up, -down), np.float64)

    def _inverse_boxcox(self, z: Float64) -> Float64:
        return _back(z, self.power)

    def _inverse_yeojohnson(self, z: Float64) -> Float64:
        # Two Box-Cox curves, mirrored at zero; each is held where it has a value.
        found = np.empty_like(z)
        up = z >= 0
        found[up] = _back(z[up], self.power) - 1
        found[~up] = 1 - _back(-z[~up], 2 - self.power)
        return found

    def mean(self, scaled: ArrayLike, residuals: ArrayLike) -> Float64:
        """Back to the mean, by smearing (Duan 1983): the mean of ``inverse(scaled + residual)`` over residuals.

        Parameters
        ----------
        scaled : array-like
            Predictions on the transformed scale.
        residuals : (n,) array-like
            Observed minus predicted on that scale, from predictions of samples that were not fitted.
        """
        z, d = np.asarray(scaled, np.float64), np.asarray(residuals, np.float64)
        if self.kind == "none" or not d.size:
            return self.inverse(z)
        if self.kind in {"log", "log10"}:
            return (self.inverse(z) + self.offset) * np.mean(np.exp(d) if self.kind == "log" else 10.0**d) - self.offset
        flat = z.ravel()
        return np.array([self.inverse(one + d).mean() for one in flat]).reshape(z.shape)

    def back_table(self, residuals: ArrayLike, *, lowest: float = -np.inf, highest: float = np.inf) -> BackTransform:
        """The bias-corrected mean as a table for tiles, within the property's limits."""
        d = np.asarray(residuals, np.float64)
        # A few hundred quantiles carry the distribution; the table stays cheap for tables of any size.
        if d.size > 512:
            d = np.quantile(d, (np.arange(512) + 0.5) / 512)
        return self._table(lambda knots: self.mean(knots, d), lowest, highest)

    def quantile_table(self, residual: float, *, lowest: float = -np.inf, highest: float = np.inf) -> BackTransform:
        """A quantile: ``inverse(scaled + residual)``, with the residual's quantile; needs no correction."""
        return self._table(lambda knots: self.inverse(knots + residual), lowest, highest)

    def _table(self, curve: Any, lowest: float, highest: float) -> BackTransform:
        reach = _REACH * self.spread
        knots = np.linspace(self.centre - reach, self.centre + reach, _KNOTS)
        if self.kind == "none":
            # Linear, so two knots far away are exact.
            far = 1e6 * max(self.spread, abs(self.centre), 1.0)
            knots = np.array([-far, far])
        return BackTransform(knots, np.asarray(curve(knots), np.float64), lowest, highest)

    def to_meta(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "kind": self.kind,
            "offset": self.offset,
            "power": self.power,
            "centre": self.centre,
            "spread": self.spread,
        }

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> TargetTransform:
        """Inverse of `to_meta`; raises ModelError ``GS-MODEL-DAMAGED``."""
        try:
            made = cls(kind=str(meta["kind"]), **{k: float(meta[k]) for k in ("offset", "power", "centre", "spread")})
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the target transform is damaged: {error}", code="GS-MODEL-DAMAGED") from error
        if made.kind not in KINDS or not all(np.isfinite([made.offset, made.power, made.centre, made.spread])):
            raise ModelError("the target transform is damaged", code="GS-MODEL-DAMAGED")
        return made


def _power(values: Float64, kind: str) -> float:
    """The fitted power of a transform that has one, of greatest likelihood; 1 for others."""
    if kind not in {"boxcox", "yeo-johnson"}:
        return 1.0
    from scipy import stats  # takes as long to load as a map's first tile to make, and no map needs it

    if kind == "boxcox":
        return float(stats.boxcox_normmax(values, method="mle"))
    return float(stats.yeojohnson_normmax(values))


def _back(z: Float64, power: float) -> Float64:
    """Back from Box and Cox's scale; of a power next to nothing from the logarithm, which SciPy goes to with it."""
    power = 0.0 if abs(power) < _NO_POWER else power
    return np.asarray(special.inv_boxcox(_held(z, power), power), np.float64)


def _held(z: Float64, power: float) -> Float64:
    """Where ``power z + 1`` is positive; a Box-Cox curve has no value beyond, and its limit is taken."""
    if abs(power) < 1e-9:
        return z
    edge = -1 / power
    return np.maximum(z, edge + 1e-9) if power > 0 else np.minimum(z, edge * (1 - 1e-9))
