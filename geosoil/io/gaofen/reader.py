"""AHSI products among the readers: which addresses are products, and a product as a source of bands."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from geosoil.errors import GeosoilError
from geosoil.io.addresses import is_remote
from geosoil.io.archive import is_archive, members
from geosoil.io.headers import sensor_grid
from geosoil.types import Opened, as_path

from .layout import is_product
from .names import looks_like
from .product import open_product

__all__ = ["Gaofen"]


class Gaofen:
    """Reader of AHSI products of GF-5, GF-5A, GF-5B, ZY-1 02D and ZY-1 02E, as radiance in sensor geometry."""

    def accepts(self, address: str) -> bool:
        """Whether it is a product's folder, one of its images, or its archive."""
        if is_remote(address):
            return False
        path = as_path(address)
        with suppress(OSError):
            return _is_packed_product(path) or is_product(path)
        return False

    def open(self, address: str, *, crs: str | None = None, mapped: bool = True) -> Opened:
        """Open a product from its folder or an image, as `open_product` does.

        Parameters
        ----------
        address : str
            Folder or image.
        crs : str, optional
            Of no use here: sensor geometry has none.
        mapped : bool
            A product has no map grid; it opens with False only.

        Raises
        ------
        InputError
            As `open_product`; ``GS-PRODUCT-PACKED``, ``GS-GRID-MISSING`` say how to make a map of the product.
        """
        product = open_product(address, mapped=mapped)
        reader = product.reader
        return Opened(
            address=address,
            bands=product.bands,
            geobox=sensor_grid(reader.shape[1:]),
            reader=reader,
            sources=tuple(str(one.path) for one in product.detectors),
            facts=product.facts(),
        )


def _is_packed_product(path: Path) -> bool:
    """Whether a path is an archive whose name, or whose first file, is that of a product."""
    if not is_archive(path.name) or not path.is_file():
        return False
    if looks_like(path.name):
        return True
    with suppress(GeosoilError):
        return any(looks_like(part) for one in _first(path) for part in Path(one).parts)
    return False


def _first(path: Path) -> list[str]:
    return [one.path for one, _ in zip(members(path), range(1), strict=False)]
