"""Complete AHSI products of a made landscape, as they are delivered: images, RPC, calibration, XML, archive."""

from __future__ import annotations

import shutil
import tarfile
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from pyproj import Transformer
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from geosoil.errors import UsageError, listing

from .acquisition import Acquisition, Levels, day_of_year, look_at
from .geometry import RationalModel, fit_rational, rational_text
from .landscape import Landscape
from .metadata import metadata_xml
from .sensors import FAMILIES, Detector, Family

if TYPE_CHECKING:
    from rasterio.io import DatasetWriter

    from geosoil.types import Float64, PathLike

__all__ = ["FAULTS", "Product", "make_product"]

#: What a product can have wrong with it, on request.
FAULTS = {
    "swapped": "the names of the two images are exchanged",
    "unequal": "the SW image has one line less",
    "short-gain": "the SWIR gain file lacks its last row",
    "short-response": "the SWIR response file lacks its last row",
    "one-column": "the gain files have no offsets",
    "no-calibration": "the gain files are missing",
    "no-response": "the response files are missing",
    "no-rpc": "the RPC files are missing",
    "no-xml": "the XML file is missing",
    "no-sw": "the SW image is missing",
}
_ARCHIVES = {None: "", ".tar": "w", ".tar.gz": "w:gz"}
# Lines that are computed at a time: bounds the memory at a few hundred MB for a whole scene.
_PIXELS = 65_536
# Orbit and product number in the names.
_ORBIT, _NUMBER = "006658", "L10000252104"


@dataclass(frozen=True, slots=True)
class Product:
    """What was written, and the truth behind it.

    Attributes
    ----------
    path : Path
        The product's folder or archive.
    stem : str
        Common first part of the names.
    family : Family
        How the files are called and written.
    acquisition : Acquisition
        The landscape as the sensor saw it: ``ground`` gives the truth a pixel, ``clean_radiance`` what should be read.
    rational : (RationalModel, RationalModel)
        The RPC of the two images.
    started : str
        ``StartTime`` of the XML, in the time of Beijing.
    dtype : str
        Type of the counts.
    dead_bands : tuple of int
        Bands that hold nothing, from 1, VNIR and SWIR in one row.
    lost_lines : tuple of int
        Lines that hold nothing, from 0.
    """

    path: Path
    stem: str
    family: Family
    acquisition: Acquisition
    rational: tuple[RationalModel, RationalModel]
    started: str
    dtype: str
    dead_bands: tuple[int, ...] = ()
    lost_lines: tuple[int, ...] = ()

    @property
    def landscape(self) -> Landscape:
        """The landscape, with the truth on a map grid."""
        return self.acquisition.landscape

    @property
    def detectors(self) -> tuple[Detector, Detector]:
        """Wavelengths, gains and offsets of VNIR and SWIR."""
        return self.acquisition.detectors

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and samples."""
        return self.acquisition.shape

    @property
    def wavelength_nm(self) -> Float64:
        """Centres of all bands, VNIR then SWIR, nm."""
        return np.concatenate([detector.wavelength_nm for detector in self.detectors])


def make_product(
    folder: PathLike,
    family: str = "GF5B",
    shape: tuple[int, int] = (128, 128),
    *,
    archive: str | None = None,
    nested: bool = True,
    wrapped: bool = False,
    seed: int = 0,
    landscape: Landscape | None = None,
    levels: Levels | None = None,
    acquired: str = "2022-10-08",
    dtype: str | None = None,
    drift_nm: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
    dead_bands: Collection[int] = (),
    lost_lines: Collection[int] = (),
    faults: Collection[str] = (),
) -> Product:
    """Write a product as it is delivered.

    Two GeoTIFFs of counts in sensor geometry without a CRS, ``.rpb`` files, gains and offsets, spectral response,
    metadata and a thumbnail. Memory stays at a few hundred MB for any size.

    Parameters
    ----------
    folder : path
        Where the product's folder or archive comes to lie; made if missing.
    family : str
        ``GF5``, ``GF5A``, ``GF5B``, ``ZY1E`` or ``ZY1F``: names, separators, bands.
    shape : (int, int)
        Lines and samples.
    archive : str, optional
        ``.tar.gz`` or ``.tar``; by default a folder.
    nested : bool
        Whether the archive holds a folder of the product's name, or the files themselves.
    wrapped : bool
        Whether the archive is put into another one, a tar, as some providers deliver it.
    seed : int
        Of the landscape, where none is given; the image is turned by 11 degrees about the landscape's middle.
    landscape : Landscape, optional
        What is seen; by default one of the image's size.
    levels : Levels, optional
        Disturbances; by default realistic ones.
    acquired : str
        Day, ``YYYY-MM-DD``.
    dtype : str, optional
        ``uint16`` or ``int16``; by default the family's.
    drift_nm : float
        Shift of all bands against the nominal ones, in the response files too.
    shift : (float, float)
        Lines and samples by which the SW image lies off the VN image; its own RPC knows.
    dead_bands : collection of int
        Bands without data, from 1, VNIR and SWIR in one row.
    lost_lines : collection of int
        Lines without data in all bands, from 0.
    faults : collection of str
        Things to be wrong: see `FAULTS`.

    Returns
    -------
    Product

    Raises
    ------
    UsageError
        ``GS-TESTING-FAMILY``, ``GS-TESTING-ARCHIVE``, ``GS-TESTING-FAULT`` for words that are not known.
    """
    _check("family", family, FAMILIES)
    _check("archive", archive, _ARCHIVES)
    for fault in faults:
        _check("fault", fault, FAULTS)
    kind = FAMILIES[family]
    landscape = landscape or Landscape(shape=shape, seed=seed)
    seen = _acquire(landscape, kind, shape, levels or Levels(), acquired, drift_nm, shift)
    heights = _heights(landscape)
    rational = tuple(fit_rational(model, landscape.crs, *heights) for model in seen.models)
    stem = _stem(kind, landscape, acquired)
    product = Product(
        path=Path(folder) / stem,
        stem=stem,
        family=kind,
        acquisition=seen,
        rational=(rational[0], rational[1]),
        started=_start(acquired),
        dtype=dtype or kind.dtype,
        dead_bands=tuple(sorted(dead_bands)),
        lost_lines=tuple(sorted(lost_lines)),
    )
    product.path.mkdir(parents=True)
    _write_images(product, faults)
    _write_sidecars(product, faults)
    if archive is None:
        return product
    packed = _pack(product, archive, nested)
    return _wrap(packed) if wrapped else packed


def _check(what: str, word: str | None, known: Collection[str | None]) -> None:
    if word not in known:
        raise UsageError(
            f"no {what} is called {word!r}",
            code=f"GS-TESTING-{what.upper()}",
            details=[f"known: {listing(list(known), most=20)}"],
            hint="choose one of these",
        )


def _acquire(
    landscape: Landscape,
    family: Family,
    shape: tuple[int, int],
    levels: Levels,
    acquired: str,
    drift_nm: float,
    shift: tuple[float, float],
) -> Acquisition:
    first, second = look_at(landscape, shape), look_at(landscape, shape, shift)
    return Acquisition(landscape, family.detectors(drift_nm=drift_nm), (first, second), levels, day_of_year(acquired))


def _heights(landscape: Landscape) -> tuple[float, float]:
    """Lowest and highest ground on a coarse grid, with a margin."""
    rows, cols = (np.linspace(-0.1, 1.1, 60) for _ in range(2))
    right, down = np.meshgrid(cols, rows)
    heights = landscape.elevation(*landscape.place(right, down))  # type: ignore[arg-type]
    return float(heights.min()) - 60.0, float(heights.max()) + 60.0


def _stem(family: Family, landscape: Landscape, acquired: str) -> str:
    to_degrees = Transformer.from_crs(landscape.crs, "EPSG:4326", always_xy=True)
    longitude, latitude = to_degrees.transform(*landscape.place(0.5, 0.5))
    east = f"{'E' if longitude >= 0 else 'W'}{abs(longitude):.{family.degrees}f}"
    north = f"{'N' if latitude >= 0 else 'S'}{abs(latitude):.{family.degrees}f}"
    return f"{family.code}_AHSI_{east}_{north}_{acquired.replace('-', '')}_{_ORBIT}_{_NUMBER}"


def _start(acquired: str) -> str:
    """Late morning in Beijing."""
    return (datetime.fromisoformat(acquired) + timedelta(hours=11, minutes=42, seconds=17)).isoformat(" ") + ".250"


def _image_name(product: Product, detector: int, faults: Collection[str]) -> str:
    place = 1 - detector if "swapped" in faults else detector
    return f"{product.stem}_{product.detectors[place].label}{product.family.suffix}"


def _write_images(product: Product, faults: Collection[str]) -> None:
    """Both images, strip by strip; then the thumbnail from what was written."""
    lines, samples = product.shape
    heights = (lines, lines - 1 if "unequal" in faults else lines)
    paths = [product.path / _image_name(product, detector, faults) for detector in (0, 1)]
    profiles = [
        {
            "driver": "GTiff", "count": len(detector), "height": height, "width": samples, "dtype": product.dtype,
            "interleave": "band", "blockysize": 16, "BIGTIFF": "IF_SAFER",
        }
        for detector, height in zip(product.detectors, heights, strict=True)
    ]  # fmt: skip
    with (
        _in_sensor_geometry(),
        rasterio.open(paths[0], "w", **profiles[0]) as first,
        rasterio.open(paths[1], "w", **profiles[1]) as second,
    ):
        step = max(16, _PIXELS // samples // 16 * 16)
        for start in range(0, lines, step):
            _write_strip(product, (first, second), (start, min(start + step, lines)))
    _write_thumbnail(product, paths[0])
    if "no-sw" in faults:
        paths[1].unlink()


@contextmanager
def _in_sensor_geometry() -> Iterator[None]:
    """rasterio warns of images without a CRS, and these have none on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def _write_strip(product: Product, datasets: tuple[DatasetWriter, DatasetWriter], lines: tuple[int, int]) -> None:
    seen = product.acquisition
    first_band = 1
    for detector, (dataset, ground) in enumerate(zip(datasets, seen.grounds(lines), strict=True)):
        counts = seen.counts(ground, detector, lines, product.dtype)
        lost = [line - lines[0] for line in product.lost_lines if lines[0] <= line < lines[1]]
        counts[:, lost] = 0
        dead = [band - first_band for band in product.dead_bands if 0 <= band - first_band < len(counts)]
        counts[dead] = 0
        height = min(lines[1], dataset.height) - lines[0]
        dataset.write(counts[:, :height], window=Window(0, lines[0], dataset.width, height))
        first_band += len(counts)


def _write_thumbnail(product: Product, image: Path) -> None:
    """A picture in true colour, every fourth pixel or so."""
    wavelength = product.detectors[0].wavelength_nm
    bands = [int(np.abs(wavelength - nm).argmin()) + 1 for nm in (660.0, 560.0, 480.0)]
    size = tuple(max(edge // 4, 16) for edge in product.shape)
    with _in_sensor_geometry(), rasterio.open(image) as dataset:
        counts = dataset.read(bands, out_shape=(3, *size)).astype(np.float32)
    low, high = np.percentile(counts, [1, 97], axis=(1, 2), keepdims=True)
    picture = np.clip((counts - low) / np.maximum(high - low, 1.0) * 255, 0, 255).astype(np.uint8)
    path = product.path / f"{product.stem}.jpg"
    profile = {"driver": "JPEG", "count": 3, "height": size[0], "width": size[1], "dtype": "uint8"}
    with _in_sensor_geometry(), rasterio.open(path, "w", **profile) as dataset:
        dataset.write(picture)
    path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)


def _write_sidecars(product: Product, faults: Collection[str]) -> None:
    for detector, rational in zip(product.detectors, product.rational, strict=True):
        if "no-calibration" not in faults:
            _write_gains(product, detector, faults)
        if "no-response" not in faults:
            columns = tuple(
                [f"{nm:.3f}".rstrip("0").rstrip(".") for nm in values]
                for values in (detector.wavelength_nm, detector.fwhm_nm)
            )
            _write_rows(product, "Spectralresponse", detector, columns, "short-response" in faults)
        if "no-rpc" not in faults:
            text = rational_text(rational, product.family.code, detector.label)
            (product.path / f"{product.stem}_{detector.label}.rpb").write_text(text, encoding="ascii")
    if "no-xml" not in faults:
        text = metadata_xml(product.stem, product.started, product.acquisition)
        (product.path / f"{product.stem}.xml").write_text(text, encoding="utf-8")


def _write_gains(product: Product, detector: Detector, faults: Collection[str]) -> None:
    columns: tuple[list[str], ...] = ([f"{gain:.8f}" for gain in detector.gain],)
    if "one-column" not in faults:
        columns = (*columns, [f"{offset:.8f}" for offset in detector.offset])
    _write_rows(product, "RadCal", detector, columns, "short-gain" in faults)


def _write_rows(product: Product, kind: str, detector: Detector, columns: tuple[list[str], ...], short: bool) -> None:
    rows = [product.family.separator.join(row) for row in zip(*columns, strict=True)]
    if short and detector.label == "SW":
        rows = rows[:-1]
    path = product.path / product.family.calibration_name(kind, detector.word)
    path.write_text("\n".join(rows) + "\n", encoding="ascii", newline="\n")


def _pack(product: Product, archive: str, nested: bool) -> Product:
    """Put the folder into an archive beside it."""
    path = product.path.with_name(product.stem + archive)
    mode = _ARCHIVES[archive]
    options = {"compresslevel": 1} if mode == "w:gz" else {}
    with tarfile.open(path, mode, **options) as tar:  # type: ignore[call-overload]
        if nested:
            tar.add(product.path, arcname=product.stem, recursive=False)
        for file in sorted(product.path.iterdir()):
            tar.add(file, arcname=f"{product.stem}/{file.name}" if nested else file.name)
    shutil.rmtree(product.path)
    return replace(product, path=path)


def _wrap(product: Product) -> Product:
    """Put the archive into another one beside it."""
    path = product.path.with_name(f"{product.stem}_delivery.tar")
    with tarfile.open(path, "w") as tar:
        tar.add(product.path, arcname=f"delivery/{product.path.name}")
    product.path.unlink()
    return replace(product, path=path)
