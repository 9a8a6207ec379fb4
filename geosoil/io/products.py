"""Which addresses a source names, where a folder may be one product rather than files to stack."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike as OsPathLike
from pathlib import Path

from geosoil.registry import special_reader
from geosoil.types import PathLike

from .addresses import expand, is_remote

__all__ = ["addresses_of", "is_product"]


def addresses_of(source: PathLike | Iterable[PathLike]) -> list[str]:
    """As `addresses.expand`, but a folder that is one sensor's product stays one address."""
    if isinstance(source, (str, OsPathLike)):
        product = _product_folder(str(source))
        return [product] if product is not None else expand(source)
    if not isinstance(source, Iterable) or isinstance(source, (bytes, bytearray)):
        return expand(source)
    found: list[str] = []
    for one in source:
        product = _product_folder(str(one)) if isinstance(one, (str, OsPathLike)) else None
        found.extend([product] if product is not None else expand([one]))
    return found or expand([])


def is_product(address: str) -> bool:
    """Whether the address is one sensor's product, which a reader of its own opens."""
    return special_reader(address) is not None


def _product_folder(text: str) -> str | None:
    if is_remote(text) or not text.strip():
        return None
    path = Path(text).expanduser()
    try:
        folder = path.is_dir()
    except OSError:
        return None
    return str(path) if folder and is_product(str(path)) else None
