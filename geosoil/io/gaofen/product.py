"""An AHSI product opened: its images, calibration and metadata, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.bands import Bands
from geosoil.errors import InputError, UsageError, listing
from geosoil.io.addresses import short_name
from geosoil.io.archive import is_archive
from geosoil.types import PathLike, as_path

from .bands import Calibration, bands_of, calibration_of
from .images import Image, open_image
from .layout import Layout, Sides, locate, read_start
from .metadata import Metadata, read_metadata
from .names import DETECTORS, Family, Stem, families
from .radiance import DetectorImage, Radiance
from .tables import MOST_BYTES

if TYPE_CHECKING:
    from rasterio.rpc import RPC

__all__ = ["UNITS", "Detector", "Product", "know", "open_product"]

#: Of radiance.
UNITS = "W m-2 sr-1 um-1"

#: Tables of one's own that may stand for those of a product.
TABLES = ("VN_gains", "VN_response", "SW_gains", "SW_response")


@dataclass(frozen=True)
class Detector:
    """One of the two detectors of a product.

    Attributes
    ----------
    label : str
        ``VN`` or ``SW``.
    opened : Image
        Its image in sensor geometry, with the coefficients that place it on the ground.
    calibration : Calibration
        Gains, offsets, centres and widths of the bands.
    """

    label: str
    opened: Image = field(repr=False)
    calibration: Calibration = field(repr=False)

    def __len__(self) -> int:
        return len(self.calibration.gains)

    @property
    def path(self) -> Path:
        """The image's file."""
        return Path(self.opened.file.handle.address)

    @property
    def size(self) -> tuple[int, int]:
        """Lines and samples."""
        lines, samples = self.opened.file.geobox.shape
        return int(lines), int(samples)

    @property
    def dtype(self) -> str:
        """Type of the counts."""
        return self.opened.dtype

    @property
    def rpcs(self) -> RPC | None:
        """Rational polynomial coefficients, from ground to image."""
        return self.opened.rpcs

    @property
    def image(self) -> DetectorImage:
        """The image with what makes radiance of it."""
        return DetectorImage(self.opened.file, self.calibration.gains, self.calibration.offsets)


@dataclass(frozen=True)
class Product:
    """A product of AHSI (GF-5, GF-5A, GF-5B, ZY-1 02D, ZY-1 02E), no pixel of it read.

    Attributes
    ----------
    stem : Stem
        What its name says: family, centre, day, orbit, product number.
    sensor : str
        Such as ``GF-5B AHSI``.
    folder : Path
        Where its images are.
    detectors : (Detector, Detector)
        VN and SW, of one size.
    bands : Bands
        Bands of VN, then of SW, in the order of the files; not good are those beyond the join and in listed windows.
    metadata : Metadata
        What the XML tells.
    join_nm : float
        Where the bands of VN end and those of SW begin, nm.
    notes : tuple of str
        What had to be assumed, and what differs from what was expected.
    """

    stem: Stem
    sensor: str
    folder: Path
    detectors: tuple[Detector, Detector]
    bands: Bands = field(repr=False)
    metadata: Metadata = field(repr=False)
    join_nm: float
    notes: tuple[str, ...]

    @property
    def family(self) -> str:
        """``GF5``, ``GF5A``, ``GF5B``, ``ZY1E`` or ``ZY1F``."""
        return self.stem.family

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, lines, samples."""
        return self.reader.shape

    @property
    def reader(self) -> Radiance:
        """Gives windows of radiance, W m-2 sr-1 um-1, in sensor geometry."""
        return Radiance.of(tuple(one.image for one in self.detectors))

    @property
    def acquired(self) -> str:
        """ISO 8601: time with its zone where the XML tells it, else the day in the product's name."""
        return self.metadata.acquired or self.stem.day

    def facts(self) -> dict[str, Any]:
        """What is known of the values, for ``types.Opened`` and a scene's ``attrs``."""
        known = {
            "sun_zenith_deg": self.metadata.sun_zenith_deg,
            "sun_azimuth_deg": self.metadata.sun_azimuth_deg,
            "view_zenith_deg": self.metadata.view_zenith_deg,
            "view_azimuth_deg": self.metadata.view_azimuth_deg,
        }
        return {
            "quantity": "radiance",
            "units": UNITS,
            "sensor": self.sensor,
            "acquired": self.acquired,
            "product": self.stem.text,
            **{name: value for name, value in known.items() if value is not None},
            "notes": self.notes,
        }


def open_product(
    path: PathLike,
    *,
    mapped: bool = False,
    nominal_wavelengths: bool = False,
    join_nm: float | None = None,
    tables: Mapping[str, PathLike] | None = None,
) -> Product:
    """Open an AHSI product from its folder or one of its images; no pixel is read.

    Parameters
    ----------
    path : path
        The folder, or the image of either detector.
    mapped : bool
        Whether a map grid is needed; a product has none, and is refused then.
    nominal_wavelengths : bool
        Take the wavelengths that the sensor was built for where the product has no list of its own, or one that cannot
        be right.
    join_nm : float, optional
        Where the bands of VN end and those of SW begin, nm; default: that of the sensor.
    tables : mapping, optional
        Own files in the place of the product's: ``VN_gains``, ``VN_response``, ``SW_gains``, ``SW_response``.

    Raises
    ------
    InputError
        ``GS-PRODUCT-...`` where images are missing, swapped, or of different size, or hold no counts;
        ``GS-CALIBRATION-...`` and ``GS-WAVELENGTHS`` for the calibration files; ``GS-XML-...``; ``GS-RPC-DAMAGED``;
        ``GS-RASTER-...``; ``GS-PRODUCT-PACKED`` for an archive, ``GS-GRID-MISSING`` where a map grid is asked for.
    UsageError
        ``GS-TABLES`` for other names in `tables`.
    """
    found = as_path(path)
    if is_archive(found.name) and found.is_file():
        raise _packed(found)
    layout = locate(found)
    if mapped:
        raise _no_grid(found)
    family = families()[layout.stem.family]
    images = _images(layout, family)
    sides = layout.sides() | _own_tables(tables or {})
    calibrations = {label: calibration_of(family, label, sides, nominal=nominal_wavelengths) for label in DETECTORS}
    vn, sw = (Detector(label, images[label], calibrations[label]) for label in DETECTORS)
    _check_sizes(vn, sw)
    join = family.join_nm if join_nm is None else join_nm
    _check_join(join, vn, sw)
    metadata, notes = know(layout.stem, layout.xml(), calibrations)
    return Product(
        stem=layout.stem,
        sensor=family.name,
        folder=layout.folder,
        detectors=(vn, sw),
        bands=bands_of(family, calibrations, join),
        metadata=metadata,
        join_nm=join,
        notes=(*notes, *_image_notes((vn, sw), metadata)),
    )


def _check_join(join_nm: float, vn: Detector, sw: Detector) -> None:
    """The detectors are joined where both see, else bands between would be lost."""
    last, first = max(vn.calibration.centres_nm), min(sw.calibration.centres_nm)
    low, high = min(first, last), max(first, last)
    if not low <= join_nm <= high:
        raise UsageError(
            f"the detectors do not meet at {join_nm:g} nm",
            code="GS-JOIN",
            details=[f"VN ends at {last:g} nm, SW begins at {first:g} nm"],
            hint=f"join them from {low:.0f} to {high:.0f} nm: --join {(low + high) / 2:.0f}",
        )


def know(
    stem: Stem, xml: tuple[str, bytes] | None, calibrations: Mapping[str, Calibration]
) -> tuple[Metadata, tuple[str, ...]]:
    """What the XML says, and all notes on it and on the calibration files."""
    metadata = read_metadata(xml[1], xml[0]) if xml else Metadata()
    notes = [note for one in calibrations.values() for note in one.notes]
    notes += metadata.notes
    if xml is None:
        notes.append("no XML file: the sun's angles (SolarZenith) and the time of day are not known")
    elif metadata.sun_zenith_deg is None and not any("SolarZenith" in note for note in metadata.notes):
        notes.append(f"{short_name(xml[0])} gives no SolarZenith")
    if metadata.zone_assumed:
        notes.append(f"StartTime {metadata.start_time} taken as Beijing time (UTC+8): the file names no zone")
    if metadata.acquired and abs((_day(metadata.acquired) - _day(stem.day)).astype(int)) > 1:
        notes.append(f"StartTime {metadata.start_time} is not the day in the product's name, {stem.day}")
    return metadata, tuple(notes)


def _day(text: str) -> np.datetime64:
    return np.datetime64(text[:10], "D")


def _packed(path: Path) -> InputError:
    return InputError(
        f"{short_name(str(path))} is packed",
        code="GS-PRODUCT-PACKED",
        details=[f"archive: {path}"],
        hint=f"unpack and calibrate it first: geosoil calibrate {path.name} OUT.tif",
    )


def _no_grid(path: Path) -> InputError:
    return InputError(
        f"{short_name(str(path))} is in sensor geometry, not on a map grid",
        code="GS-GRID-MISSING",
        details=[f"product: {path}"],
        hint=f"make a map of it first: geosoil calibrate {path.name} OUT.tif",
    )


def _images(layout: Layout, family: Family) -> dict[str, Image]:
    """The images by detector, told apart by their bands."""
    found: dict[str, Image] = {}
    for path, label in layout.images:
        image = open_image(path)
        count = len(image.file.names)
        detector = _detector_of(path, count, label, family)
        if detector in found:
            raise InputError(
                f"two images have the {count} bands of {detector}",
                code="GS-PRODUCT-BANDS",
                details=[f"file: {found[detector].file.handle.address}", f"file: {path}"],
                hint="move away the one that does not belong to this product",
            )
        found[detector] = image
    missing = [label for label in DETECTORS if label not in found]
    if missing:
        ending = layout.images[0][0].suffix
        raise InputError(
            f"{short_name(layout.stem.text, 60)} has no {missing[0]} image",
            code="GS-PRODUCT-MISSING",
            details=[
                f"product: {layout.folder}",
                f"found: {listing([path.name for path, _ in layout.images])}",
                f"expected: {layout.stem.text}_{missing[0]}{ending} with {family.detectors[missing[0]].bands} bands",
            ],
            hint="get the product from its provider again, or unpack it again, whole",
        )
    return found


def _detector_of(path: Path, count: int, label: str | None, family: Family) -> str:
    expected = ", ".join(f"{one.bands} of {name}" for name, one in family.detectors.items())
    detector = family.detector_of(count)
    if detector is None:
        raise InputError(
            f"{short_name(path.name)} has {count} bands, as no detector of {family.name}",
            code="GS-PRODUCT-BANDS",
            details=[f"file: {path}", f"found: {count} bands", f"expected: {expected}"],
            hint="get the product from its provider again",
        )
    if label not in (None, detector):
        raise InputError(
            f"{short_name(path.name)} is called {label} and has the bands of {detector}",
            code="GS-PRODUCT-SWAPPED",
            details=[f"file: {path}", f"found: {count} bands", f"expected: {expected}"],
            hint="VN and SW seem to be swapped: correct the names of the images",
        )
    return detector


def _own_tables(tables: Mapping[str, PathLike]) -> Sides:
    unknown = [name for name in tables if name not in TABLES]
    if unknown:
        raise UsageError(
            f"tables of a product are not called {listing(unknown, 3)}",
            code="GS-TABLES",
            details=[f"known: {listing(TABLES)}"],
        )
    return {what: (str(path), read_start(as_path(path), MOST_BYTES)) for what, path in tables.items()}


def _check_sizes(vn: Detector, sw: Detector) -> None:
    sizes = [f"{one.label}: {one.size[0]} lines of {one.size[1]}" for one in (vn, sw)]
    if vn.size != sw.size:
        raise InputError(
            "the images of VN and SW have different sizes",
            code="GS-PRODUCT-SIZE",
            details=[f"product: {vn.path.parent}", *sizes, "expected: equal sizes, as their pixels belong together"],
            hint="get the product from its provider again",
        )


def _image_notes(detectors: tuple[Detector, ...], metadata: Metadata) -> list[str]:
    notes = []
    without = [one.label for one in detectors if one.rpcs is None]
    if without:
        notes.append(f"no RPC for {' and '.join(without)}: the image cannot be put on a map through a height model")
    if any(one.opened.file.geobox.crs is not None for one in detectors):
        notes.append("an image has a map grid, which products do not have: it may be rectified already")
    lines, samples = detectors[0].size
    told = (metadata.lines, metadata.samples)
    if None not in told and told != (lines, samples):
        notes.append(f"the XML says {told[0]} lines of {told[1]}; the images have {lines} of {samples}")
    return notes
