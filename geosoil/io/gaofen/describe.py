"""What `geosoil info` says of a product, from a folder, an image or a packed archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geosoil.bands import Bands
from geosoil.errors import InputError
from geosoil.io.addresses import short_name
from geosoil.io.archive import is_archive, matches, members, nothing_expected
from geosoil.types import PathLike, as_path

from .bands import bands_of, calibration_of
from .layout import Sides
from .metadata import Metadata
from .names import DETECTORS, EXPECTED, Family, Stem, families, image_name, side_name
from .product import UNITS, know, open_product

__all__ = ["describe"]


def describe(path: PathLike) -> dict[str, Any]:
    """What is known of a product without reading a pixel; an archive is looked into, not unpacked.

    Parameters
    ----------
    path : path
        Folder, image, or archive of a product.

    Returns
    -------
    dict
        Fit for JSON: ``product``, ``family``, ``sensor``, ``acquired``, ``day``, ``orbit``, ``number``, ``centre``
        (longitude, latitude), ``quantity``, ``units``, ``shape`` (bands, lines, samples; None for the sizes that an
        archive does not tell), ``geometry``, ``rpc``, ``sun`` and ``view`` (degrees), ``corners``, ``bands`` (name,
        wavelength and width in nm, good, why), ``files``, ``notes``.

    Raises
    ------
    InputError
        As `open_product` and `archive.members`.
    """
    found = as_path(path)
    if is_archive(found.name) and found.is_file():
        return _packed(found)
    product = open_product(found)
    rpcs = [one.label for one in product.detectors if one.rpcs is not None]
    files = [str(one.path) for one in product.detectors]
    told = _told(product.stem, families()[product.family], product.bands, product.metadata, product.notes)
    return told | {"shape": list(product.shape), "rpc": rpcs, "files": files, "packed": False}


def _packed(path: Path) -> dict[str, Any]:
    stem, names, sides, xml = _look(path)
    family = families()[stem.family]
    calibrations = {label: calibration_of(family, label, sides, nominal=True) for label in DETECTORS}
    metadata, notes = know(stem, xml, calibrations)
    bands = bands_of(family, calibrations, family.join_nm)
    labels = {named[1] for name in names if (named := image_name(name))}
    missing = [label for label in DETECTORS if label not in labels and None not in labels]
    notes += tuple(f"the archive has no {label} image" for label in missing)
    if metadata.lines is None or metadata.samples is None:
        notes += ("the size of the images is known after unpacking",)
    rpcs = sorted({label for label in DETECTORS for name in names if name.lower().endswith(f"_{label}.rpb".lower())})
    shape = [len(bands), metadata.lines, metadata.samples]
    told = _told(stem, family, bands, metadata, notes)
    return told | {"shape": shape, "rpc": rpcs[::-1], "files": names, "packed": True}


def _look(path: Path) -> tuple[Stem, list[str], Sides, tuple[str, bytes] | None]:
    """Product, names of all files, calibration files and XML of an archive."""
    stems: dict[str, Stem] = {}
    names: list[str] = []
    sides: dict[str, Sides] = {}
    texts: dict[str, tuple[str, bytes]] = {}
    for one in members(path, contents=("*_AHSI_*.raw", "*_AHSI_*[0-9].xml")):
        names.append(one.name)
        source, side, image = f"{path.name}/{one.path}", side_name(one.name), image_name(one.name)
        if image:
            stems[image[0].text.lower()] = image[0]
        if side and one.content is not None:
            sides.setdefault(side.family, {})[f"{side.detector}_{side.what}"] = (source, one.content)
        elif one.content is not None:
            texts[one.name.lower()] = (source, one.content)
    if not any(matches(name, EXPECTED) for name in names):
        raise nothing_expected(path, EXPECTED)
    if len(stems) != 1:
        raise InputError(
            f"{short_name(str(path))} holds {len(stems) or 'no'} AHSI products",
            code="GS-PRODUCT-SEVERAL" if stems else "GS-PRODUCT-MISSING",
            details=[f"archive: {path}", *(f"product: {stem.text}" for stem in list(stems.values())[:10])],
            hint="unpack it and name one of the images" if stems else "name the archive of a product",
        )
    key, stem = next(iter(stems.items()))
    return stem, names, sides.get(stem.family, {}), texts.get(f"{key}.xml")


def _told(stem: Stem, family: Family, bands: Bands, metadata: Metadata, notes: tuple[str, ...]) -> dict[str, Any]:
    columns = zip(bands.names, bands.wavelength_nm, bands.fwhm_nm, bands.good, bands.why, strict=True)
    fields = ("name", "wavelength_nm", "fwhm_nm", "good", "why")
    return {
        "product": stem.text,
        "family": stem.family,
        "sensor": family.name,
        "acquired": metadata.acquired or stem.day,
        "day": stem.day,
        "orbit": stem.orbit,
        "number": stem.number,
        "centre": list(metadata.centre or (stem.lon, stem.lat)),
        "quantity": "radiance",
        "units": UNITS,
        "geometry": "sensor geometry: lines and samples, no map grid",
        "sun": {"zenith_deg": metadata.sun_zenith_deg, "azimuth_deg": metadata.sun_azimuth_deg},
        "view": {"zenith_deg": metadata.view_zenith_deg, "azimuth_deg": metadata.view_azimuth_deg},
        "corners": [list(one) for one in metadata.corners],
        "bands": [dict(zip(fields, row, strict=True)) for row in columns],
        "notes": list(notes),
    }
