"""What `geosoil info` says of a product, from a folder, an image or a packed archive."""

from __future__ import annotations

import tempfile
from typing import Any

from geosoil.io.archive import is_archive, unpacked
from geosoil.io.staging import workspace
from geosoil.types import PathLike, as_path

from .names import EXPECTED
from .product import UNITS, Product, open_product

__all__ = ["describe"]


def describe(path: PathLike) -> dict[str, Any]:
    """What is known of a product without reading a pixel; of an archive the headers of the images alone are unpacked.

    Parameters
    ----------
    path : path
        Folder, image, or archive of a product.

    Returns
    -------
    dict
        Fit for JSON: ``product``, ``family``, ``sensor``, ``acquired``, ``day``, ``orbit``, ``number``, ``centre``
        (longitude, latitude), ``quantity``, ``units``, ``shape`` (bands, lines, samples), ``geometry``, ``rpc``,
        ``sun`` and ``view`` (degrees), ``corners``, ``bands`` (name, wavelength and width in nm, good, why), ``files``
        (names of the images), ``packed``, ``notes``.

    Raises
    ------
    InputError, OutputError
        As `open_product` and `archive.unpacked`.
    """
    found = as_path(path)
    if not (is_archive(found.name) and found.is_file()):
        return _told(open_product(found)) | {"packed": False}
    with (
        workspace(tempfile.gettempdir()) as work,
        unpacked(found, work, expected=EXPECTED, headers=True) as folder,
    ):
        return _told(open_product(folder)) | {"packed": True}


def _told(product: Product) -> dict[str, Any]:
    stem, bands, metadata = product.stem, product.bands, product.metadata
    columns = zip(bands.names, bands.wavelength_nm, bands.fwhm_nm, bands.good, bands.why, strict=True)
    fields = ("name", "wavelength_nm", "fwhm_nm", "good", "why")
    return {
        "product": stem.text,
        "family": stem.family,
        "sensor": product.sensor,
        "acquired": product.acquired,
        "day": stem.day,
        "orbit": stem.orbit,
        "number": stem.number,
        "centre": list(metadata.centre or (stem.lon, stem.lat)),
        "quantity": "radiance",
        "units": UNITS,
        "shape": list(product.shape),
        "geometry": "sensor geometry: lines and samples, no map grid",
        "rpc": [one.label for one in product.detectors if one.rpcs is not None],
        "sun": {"zenith_deg": metadata.sun_zenith_deg, "azimuth_deg": metadata.sun_azimuth_deg},
        "view": {"zenith_deg": metadata.view_zenith_deg, "azimuth_deg": metadata.view_azimuth_deg},
        "corners": [list(one) for one in metadata.corners],
        "bands": [dict(zip(fields, row, strict=True)) for row in columns],
        "files": [one.path.name for one in product.detectors],
        "notes": list(product.notes),
    }
