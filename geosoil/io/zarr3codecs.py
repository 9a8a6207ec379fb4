"""The same for the third format of Zarr, which has classes of its own for codecs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import zarr
from zarr.codecs import BloscCodec, BytesCodec, GzipCodec, ZstdCodec
from zarr.registry import get_codec_class, register_codec

from .zarrcodecs import MOST_BYTES, UNPACKING, CheckedBlosc, CheckedGZip, CheckedZstd, bound_of

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec

__all__ = ["lone_codec", "settings"]


class _Bounded:
    """What all of them have: the most bytes that a chunk may unpack to, by the array that it is of."""

    _most: int = MOST_BYTES

    def evolve_from_array_spec(self, array_spec: ArraySpec) -> Self:
        """The codec for the chunks of an array."""
        evolved: Self = super().evolve_from_array_spec(array_spec)  # type: ignore[misc]
        size = math.prod(array_spec.shape) * getattr(array_spec.dtype, "item_size", 8)
        # Fields are frozen, and this is none; shards keep the codec that they have where the new one equals it.
        for one in (self, evolved):
            object.__setattr__(one, "_most", bound_of(size))
        return evolved


class CheckedBloscCodec(_Bounded, BloscCodec):
    """`zarrcodecs.CheckedBlosc` in the third format."""

    @cached_property
    def _blosc_codec(self) -> CheckedBlosc:
        config = dict(super()._blosc_codec.get_config())
        config.pop("id")
        made: CheckedBlosc = CheckedBlosc(**config).bounded(self._most)
        return made


class CheckedGzipCodec(_Bounded, GzipCodec):
    """`zarrcodecs.CheckedGZip` in the third format."""

    @cached_property
    def _gzip_codec(self) -> CheckedGZip:
        made: CheckedGZip = CheckedGZip(self.level).bounded(self._most)
        return made


class CheckedZstdCodec(_Bounded, ZstdCodec):
    """`zarrcodecs.CheckedZstd` in the third format."""

    @cached_property
    def _zstd_codec(self) -> CheckedZstd:
        made: CheckedZstd = CheckedZstd(level=self.level, checksum=self.checksum).bounded(self._most)
        return made


class _OfNumcodecs(_Bounded):
    """Any of those that stand in the third format under their names in the second."""

    codec_config: dict[str, Any]

    @cached_property
    def _codec(self) -> Any:
        config = dict(self.codec_config)
        return UNPACKING[config.pop("id")](**config).bounded(self._most)


def _checked() -> dict[str, Any]:
    """The codecs that unpack, by name; those of numcodecs as far as this version of Zarr has them."""
    found: dict[str, Any] = {"blosc": CheckedBloscCodec, "gzip": CheckedGzipCodec, "zstd": CheckedZstdCodec}
    for name in UNPACKING:
        with suppress(KeyError):
            base = get_codec_class(f"numcodecs.{name}")
            made = type(f"CheckedNumcodecs{base.__name__}", (_OfNumcodecs, base), {"__module__": __name__})
            # Under its name in this module: scenes go to other processes.
            globals()[made.__name__] = found[f"numcodecs.{name}"] = made
    return found


#: Where each kind has what unpacks a chunk.
_UNPACKERS: dict[type, str] = {
    CheckedBloscCodec: "_blosc_codec", CheckedGzipCodec: "_gzip_codec", CheckedZstdCodec: "_zstd_codec",
    _OfNumcodecs: "_codec",
}  # fmt: skip
_CODECS = _checked()
for _name, _codec in _CODECS.items():
    register_codec(_name, _codec)


def lone_codec(codecs: Sequence[Any], dtype: np.dtype[Any]) -> tuple[Any, np.dtype[Any]] | None:
    """What unpacks chunks, None for nothing, and the type of what is in them; None where that is not all."""
    order, *rest = codecs
    if not isinstance(order, BytesCodec) or len(rest) > 1:
        return None
    stored = dtype if order.endian is None else dtype.newbyteorder("<" if order.endian.value == "little" else ">")
    if not rest:
        return None, stored
    for kind, name in _UNPACKERS.items():
        if isinstance(rest[0], kind):
            return getattr(rest[0], name), stored
    return None


def settings() -> dict[str, Any]:
    """Which class Zarr takes for the name of a codec, as its settings say it; a name may hold a dot."""
    ours = {name: f"{codec.__module__}.{codec.__qualname__}" for name, codec in _CODECS.items()}
    return {"codecs": {**zarr.config.get("codecs"), **ours}}
