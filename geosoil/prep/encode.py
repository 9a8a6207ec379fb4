"""Raw bands to the features that models see: scaled quantities, one-hot classes, filled gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from geosoil.errors import InputError, ModelError, listing
from geosoil.kernels import window

if TYPE_CHECKING:
    from geosoil.types import Bool, Float32, Float64, Int64

__all__ = ["Encoder"]

#: More classes than this are a quantity that was declared a class.
MOST_CLASSES = 1000


@dataclass(frozen=True, eq=False)
class Encoder:
    """How raw bands become features; fitted on training profiles alone.

    A quantity is scaled so that the training values span 0 to 1 (values beyond are not cut). A class band becomes one
    column a class seen in training. A missing value takes the training mean of its columns.

    Attributes
    ----------
    bands : tuple of str
        Bands of the scene that are used, in order.
    categories : tuple
        For each band the class codes seen in training, or None for a quantity.
    lower, upper, mean : (B,) float64
        Training limits and mean of quantities, raw units; NaN for class bands.
    frequencies : tuple
        For each band the shares of its classes in training, or None.
    embeddings : tuple of str
        For each band ``onehot`` or ``embedding``; empty text for a quantity. A network learns a short vector a class
        for ``embedding``; the columns are the same.
    mask_channel : bool
        Whether a last column marks cells where a band is missing.
    """

    bands: tuple[str, ...]
    categories: tuple[tuple[int, ...] | None, ...]
    lower: Float64
    upper: Float64
    mean: Float64
    frequencies: tuple[tuple[float, ...] | None, ...]
    embeddings: tuple[str, ...]
    mask_channel: bool = False

    @classmethod
    def fit(
        cls,
        centre: Float32,
        bands: Sequence[str],
        *,
        classes: Mapping[str, str] | None = None,
        mask_channel: bool = False,
    ) -> Encoder:
        """Learn limits, means and classes.

        Parameters
        ----------
        centre : (P, B) float32
            Values at the training profiles.
        bands : sequence of str
            Their names.
        classes : mapping
            Class bands, and how a network takes them (``onehot`` or ``embedding``).

        Raises
        ------
        InputError
            ``GS-CATEGORY-CODE``: a class band holds fractions, or more than a thousand codes.
        """
        classes = classes or {}
        centre = np.asarray(centre, np.float64)
        count = len(bands)
        lower, upper, mean = (np.full(count, np.nan) for _ in range(3))
        categories: list[tuple[int, ...] | None] = []
        frequencies: list[tuple[float, ...] | None] = []
        for place, name in enumerate(bands):
            values = centre[np.isfinite(centre[:, place]), place]
            if name in classes:
                codes, shares = _codes(name, values)
                categories.append(codes)
                frequencies.append(shares)
                continue
            categories.append(None)
            frequencies.append(None)
            lower[place], upper[place], mean[place] = values.min(), values.max(), values.mean()
        return cls(
            bands=tuple(bands),
            categories=tuple(categories),
            lower=lower,
            upper=upper,
            mean=mean,
            frequencies=tuple(frequencies),
            embeddings=tuple(classes.get(name, "") for name in bands),
            mask_channel=mask_channel,
        )

    @classmethod
    def identity(cls, bands: Sequence[str], centre: Float64) -> Encoder:
        """Quantities as they are, for models that scale on their own; gaps take the mean of the samples (n, B)."""
        count = len(bands)
        return cls(
            bands=tuple(bands),
            categories=(None,) * count,
            lower=np.zeros(count),
            upper=np.ones(count),
            mean=np.asarray(centre, np.float64).mean(axis=0),
            frequencies=(None,) * count,
            embeddings=("",) * count,
        )

    @property
    def features(self) -> int:
        """Number of columns, F."""
        return int(self._first[-1]) + self.mask_channel

    @property
    def feature_names(self) -> tuple[str, ...]:
        """``band`` for a quantity, ``band=code`` for a class, ``missing`` for the mask."""
        names: list[str] = []
        for name, codes in zip(self.bands, self.categories, strict=True):
            names += [name] if codes is None else [f"{name}={code}" for code in codes]
        return (*names, *(("missing",) if self.mask_channel else ()))

    @property
    def embedded_columns(self) -> dict[int, tuple[int, int]]:
        """First column of each embedded class band, to its number of classes and the length of its vectors."""
        found = {}
        for place, how in enumerate(self.embeddings):
            if how == "embedding":
                count = len(self.categories[place] or ())
                found[int(self._first[place])] = (count, min(8, (count + 1) // 2))
        return found

    @cached_property
    def _first(self) -> Int64:
        widths = [1 if codes is None else len(codes) for codes in self.categories]
        return np.concatenate([[0], np.cumsum(widths)]).astype(np.int64)

    @cached_property
    def _codes(self) -> tuple[Float32, Int64]:
        lists = [codes or () for codes in self.categories]
        start = np.concatenate([[0], np.cumsum([len(codes) for codes in lists])]).astype(np.int64)
        return np.array([code for codes in lists for code in codes], np.float32), start

    @cached_property
    def _linear(self) -> tuple[Float32, Float32, Float32]:
        """Scale and shift of the bands, fill of the columns."""
        span = self.upper - self.lower
        scale = np.divide(1.0, span, out=np.zeros_like(span), where=span > 0)
        fill: list[float] = []
        for place, shares in enumerate(self.frequencies):
            if shares is None:
                fill.append((self.mean[place] - self.lower[place]) * scale[place])
            else:
                fill.extend(shares)
        return (
            np.nan_to_num(scale).astype(np.float32),
            np.nan_to_num(self.lower).astype(np.float32),
            np.array(fill, np.float32),
        )

    def encode(self, raw: Float32, *, unseen: Literal["error", "missing"] = "error") -> Float32:
        """Features of patches or of a tile.

        Parameters
        ----------
        raw : (..., B, h, w) float32
            The encoder's bands, in its order.
        unseen : {"error", "missing"}
            What to do with a class code that training did not see.

        Returns
        -------
        (..., h, w, F) float32
            Without NaN.

        Raises
        ------
        InputError
            ``GS-CATEGORY-UNSEEN``.
        """
        raw = np.ascontiguousarray(raw, np.float32)
        *lead, bands, height, width = raw.shape
        flat = raw.reshape(-1, bands, height, width)
        out = np.empty((len(flat), height, width, self.features), np.float32)
        codes, start = self._codes
        scale, shift, fill = self._linear
        missed = 0
        for one, place in zip(flat, out, strict=True):
            missed += window.encode(one, self._first, codes, start, scale, shift, fill, self.mask_channel, place)
        if missed and unseen == "error":
            raise self._unseen(flat)
        return out.reshape(*lead, height, width, self.features)

    @cached_property
    def as_is(self) -> bool:
        """Whether features are the bands themselves."""
        plain = all(codes is None for codes in self.categories) and not self.mask_channel
        return plain and bool((self.lower == 0).all() and (self.upper == 1).all())

    def valid(self, raw: Float32) -> Bool:
        """Where all bands have a finite value and a known class, (..., h, w)."""
        raw = np.ascontiguousarray(raw, np.float32)
        *lead, bands, height, width = raw.shape
        flat = raw.reshape(-1, bands, height, width)
        out = np.empty((len(flat), height, width), np.bool_)
        codes, start = self._codes
        for one, place in zip(flat, out, strict=True):
            window.valid(one, codes, start, place)
        return out.reshape(*lead, height, width)

    def _unseen(self, flat: Float32) -> InputError:
        """The error that names the first band with an unknown class."""
        for place, codes in enumerate(self.categories):
            if codes is None:
                continue
            values = flat[:, place]
            strange = values[np.isfinite(values) & ~np.isin(values, codes)]
            if strange.size:
                found, counts = np.unique(strange, return_counts=True)
                return InputError(
                    f"band {self.bands[place]!r} holds classes that training did not see",
                    code="GS-CATEGORY-UNSEEN",
                    details=[
                        "unseen: " + listing([f"{v:g} ({n} cells)" for v, n in zip(found, counts, strict=True)]),
                        f"known: {listing(codes)}",
                    ],
                    hint="add samples there, or leave such cells empty: --unseen missing",
                )
        raise AssertionError("the kernel counted an unseen class that is not there")

    def to_meta(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "bands": list(self.bands),
            "categories": [None if codes is None else list(codes) for codes in self.categories],
            "lower": _numbers(self.lower),
            "upper": _numbers(self.upper),
            "mean": _numbers(self.mean),
            "frequencies": [None if shares is None else list(shares) for shares in self.frequencies],
            "embeddings": list(self.embeddings),
            "mask_channel": self.mask_channel,
        }

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> Encoder:
        """Inverse of `to_meta`; raises ModelError ``GS-MODEL-DAMAGED`` where the values do not fit."""
        try:
            encoder = cls(
                bands=tuple(str(name) for name in meta["bands"]),
                categories=tuple(
                    None if one is None else tuple(int(code) for code in one) for one in meta["categories"]
                ),
                lower=_array(meta["lower"]),
                upper=_array(meta["upper"]),
                mean=_array(meta["mean"]),
                frequencies=tuple(None if one is None else tuple(float(v) for v in one) for one in meta["frequencies"]),
                embeddings=tuple(str(how) for how in meta["embeddings"]),
                mask_channel=bool(meta["mask_channel"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the encoder is damaged: {error}", code="GS-MODEL-DAMAGED") from error
        lengths = {
            len(getattr(encoder, name))
            for name in ("bands", "categories", "lower", "upper", "mean", "frequencies", "embeddings")
        }
        if lengths != {len(encoder.bands)} or not encoder.bands:
            raise ModelError("the encoder is damaged: its lists differ in length", code="GS-MODEL-DAMAGED")
        return encoder


def _codes(name: str, values: Float64) -> tuple[tuple[int, ...], tuple[float, ...]]:
    found, counts = np.unique(values, return_counts=True)
    if len(found) > MOST_CLASSES or not np.array_equal(found, np.round(found)):
        raise InputError(
            f"band {name!r} is declared a class band, but does not hold class codes",
            code="GS-CATEGORY-CODE",
            details=[f"values at the profiles: {listing([f'{v:g}' for v in found], 5)}"],
            hint="take it out of scene.classes, or recode it to whole numbers",
        )
    return tuple(int(code) for code in found), tuple(float(count) / len(values) for count in counts)


def _numbers(values: Float64) -> list[float | None]:
    """JSON has no NaN."""
    return [None if np.isnan(value) else float(value) for value in values]


def _array(values: Sequence[float | None]) -> Float64:
    return np.array([np.nan if value is None else float(value) for value in values], np.float64)
