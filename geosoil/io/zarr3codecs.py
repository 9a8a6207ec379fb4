"""The same for the third format of Zarr, which has classes of its own for codecs."""

from __future__ import annotations

from functools import cached_property

from zarr.codecs import BloscCodec
from zarr.registry import register_codec

from .zarrcodecs import CheckedBlosc

__all__ = ["NAME", "CheckedBloscCodec"]


class CheckedBloscCodec(BloscCodec):
    """`zarrcodecs.CheckedBlosc` in the third format."""

    @cached_property
    def _blosc_codec(self) -> CheckedBlosc:
        config = dict(super()._blosc_codec.get_config())
        config.pop("id")
        return CheckedBlosc(**config)


#: What Zarr's settings call the class.
NAME = f"{CheckedBloscCodec.__module__}.{CheckedBloscCodec.__qualname__}"
register_codec("blosc", CheckedBloscCodec)
