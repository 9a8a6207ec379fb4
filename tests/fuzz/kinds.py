"""What geosoil reads from strangers: for each kind, small good files, and the calls that open them."""

from __future__ import annotations

import shutil
import struct
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import dask
import geopandas as gpd
import numcodecs
import numpy as np
import pandas as pd
import xarray as xr
from zarr.codecs import BloscCodec, GzipCodec

from geosoil.config import load_study
from geosoil.errors import GeosoilError
from geosoil.io.archive import members, unpack
from geosoil.io.gaofen.describe import describe
from geosoil.io.library import open_library
from geosoil.io.raster import open_scene
from geosoil.io.samples import open_samples
from geosoil.io.spectra import open_spectra
from geosoil.models.bundle import load_model
from geosoil.testing import Landscape, Layout, make_farm, make_library, make_product, make_scene, write_raster
from geosoil.testing.envi import write_header

from ..jobs.explaining import spectral_model  # noqa: TID252  (tests are no package that is installed)
from ..jobs.mapping import make_model  # noqa: TID252
from .mutations import spoil

__all__ = ["KINDS", "Kind", "make_case", "outcome"]

_DATA = Path(__file__).parent.parent / "data"


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes
    ----------
    make : callable
        Writes good files into an empty folder, each of which is opened by itself.
    open : callable
        Opens what `make` wrote under a path (a file or a folder of that folder), and reads some of it.
    """

    make: Callable[[Path], None]
    open: Callable[[Path], object]


def make_case(kind: str, seeds: Path, folder: Path, number: int) -> tuple[Path, Path]:
    """Write a spoilt copy of one good file.

    Parameters
    ----------
    seeds : Path
        Folder with the good files of the kind.
    folder : Path
        Where the copy comes to lie.
    number : int
        Of the case; equal numbers spoil equal files in the same way.

    Returns
    -------
    tuple of Path
        What to open, and the file that was spoilt.
    """
    rng = Random(f"{kind} {number}")
    good = rng.choice(sorted(one for one in seeds.iterdir() if one.suffix != ".hdr"))
    if good.is_dir():
        opened = Path(shutil.copytree(good, folder / good.name))
        spoilt = rng.choice(sorted(one for one in opened.rglob("*") if one.is_file()))
    else:
        opened = Path(shutil.copy(good, folder))
        beside = good.with_suffix(".hdr")
        spoilt = opened
        if beside.exists():
            header = Path(shutil.copy(beside, folder))
            spoilt = rng.choice((opened, header, header, header))
    spoilt.write_bytes(spoil(spoilt.read_bytes(), spoilt.suffix, rng))
    return opened, spoilt


def outcome(kind: str, path: Path, *, hinted: bool = False) -> str:
    """``ok``, or the code of geosoil's own error; any other error comes through, as does one that breaks the rules.

    With `hinted`, it has to say what to do, too.
    """
    try:
        with dask.config.set(scheduler="synchronous"):
            KINDS[kind].open(path)
    except GeosoilError as error:
        if len(error.message) >= 100 or len(error.message.splitlines()) != 1 or not error.message.isprintable():
            raise AssertionError(f"first line is none: {error.message!r}") from error
        if not error.code.startswith("GS-"):
            raise AssertionError(f"no code: {error.code!r}") from error
        if hinted and not error.hint:
            raise AssertionError(f"no hint: {error.render()}") from error
        error.render().encode()
        return error.code
    return "ok"


# --- rasters ---


def _values(bands: int, size: int = 24) -> np.ndarray:
    return np.random.default_rng(0).random((bands, size, size), np.float32)


def _make_tiffs(folder: Path) -> None:
    names = ("elevation", "twi", "ndvi")
    ways: dict[str, dict[str, Any]] = {
        "tiled": {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate", "predictor": 3},
        "strips": {"interleave": "pixel"},
        "zstd": {"compress": "zstd", "interleave": "band", "BIGTIFF": "YES"},
        "lzw": {"compress": "lzw", "tiled": True, "blockxsize": 16, "blockysize": 16},
        "cog": {"driver": "COG"},
    }
    for name, options in ways.items():
        write_raster(folder / f"{name}.tif", _values(3), names=names, nodata=-9999.0, **options)
    write_raster(folder / "bytes.tif", (_values(2) * 255).astype(np.uint8), compress="packbits")
    write_raster(folder / "image.jp2", (_values(2) * 255).astype(np.uint8), driver="JP2OpenJPEG")
    write_raster(folder / "deflated.tif", (_values(2) * 255).astype(np.int16), compress="lerc_deflate")


def _make_envis(folder: Path) -> None:
    wavelength = np.linspace(450.0, 2400.0, 8)
    box = Landscape(shape=(24, 24)).geobox
    values = (_values(8) * 10_000).astype(np.int16)
    for name, layout in {
        "bsq": Layout(),
        "bil": Layout("bil", micrometres=True),
        "bip": Layout("bip", byte_order=1, scale_factor=False),
    }.items():
        path = folder / f"{name}.dat"
        path.write_bytes(values.transpose(layout.axes).astype(layout.dtype).tobytes())
        write_header(path, box, layout, wavelength, np.full(8, 9.0), wavelength > 500, "GF-5 AHSI", "2022-10-08")


def _make_stores(folder: Path) -> None:
    scene = make_scene(shape=(24, 24), missing=0.1, seed=3).compute()
    values = np.asarray(scene.values, np.float32)
    frame = xr.Dataset(
        {f"b{place}": (("y", "x"), one) for place, one in enumerate(values)},
        coords={"y": scene["y"].values, "x": scene["x"].values},
        attrs={"crs": "EPSG:32755"},
    )
    frame.to_netcdf(folder / "classic.nc", engine="scipy")
    frame.to_netcdf(folder / "four.nc", engine="h5netcdf")
    frame.to_zarr(folder / "stack.zarr", consolidated=True, zarr_format=2)
    codecs = (numcodecs.Zlib(), numcodecs.LZMA(), numcodecs.LZ4())
    coded = {f"b{place}": {"compressors": one} for place, one in enumerate(codecs)}
    frame.chunk(y=16, x=16).to_zarr(folder / "coded.zarr", consolidated=False, zarr_format=2, encoding=coded)
    third = {
        "b0": {"compressors": BloscCodec(cname="zstd")},
        "b1": {"compressors": GzipCodec(), "chunks": (8, 8), "shards": (24, 24)},
        "b2": {"compressors": BloscCodec(cname="lz4"), "chunks": (8, 8), "shards": (24, 24)},
    }
    frame.to_zarr(folder / "third.zarr", consolidated=False, zarr_format=3, encoding=third)
    write_raster(folder / "under.tif", values[:2])
    under = "<SourceFilename relativeToVRT='1'>under.tif</SourceFilename>"
    source = f"<SimpleSource>{under}<SourceBand>1</SourceBand></SimpleSource>"
    transform = "<SRS>EPSG:32755</SRS><GeoTransform>0,30,0,0,0,-30</GeoTransform>"
    (folder / "stack.vrt").mkdir()
    shutil.move(folder / "under.tif", folder / "stack.vrt" / "under.tif")
    (folder / "stack.vrt" / "a.vrt").write_text(
        f"<VRTDataset rasterXSize='24' rasterYSize='24'>{transform}<VRTRasterBand dataType='Float32' band='1'>"
        f"{source}</VRTRasterBand></VRTDataset>"
    )


def _open_raster(path: Path) -> None:
    source = path / "a.vrt" if path.suffix == ".vrt" and path.is_dir() else path
    scene = open_scene(source, chunks=16, mapped=False)
    scene[:3, :16, :16].compute()
    scene[-1:, -16:, -16:].compute()
    open_scene(source, chunks=16)


def _make_products(folder: Path) -> None:
    make_product(folder, shape=(12, 12))
    make_product(folder, "ZY1E", shape=(12, 12), seed=2)


def _open_product(path: Path) -> None:
    try:
        describe(str(path))
    finally:
        scene = open_scene(path, chunks=16, mapped=False)
        scene[:3, :8, :8].compute()
        scene[-1:, :8, :8].compute()


def _make_archives(folder: Path) -> None:
    product = make_product(folder / "work", shape=(4, 4))
    for name, mode in {"gz": "w:gz", "plain": "w"}.items():
        place = folder / f"{product.stem}_{name}{'.tar.gz' if name == 'gz' else '.tar'}"
        with tarfile.open(place, mode) as tar:  # type: ignore[call-overload]
            tar.add(product.path, arcname=product.stem)
    shutil.rmtree(folder / "work")


def _open_archive(path: Path) -> None:
    try:
        list(members(path))
    finally:
        try:
            describe(str(path))
        finally:
            with tempfile.TemporaryDirectory() as folder:
                unpack(path, folder, expected=("*.xml", "*.rpb", "*.raw", "*.tif"))


# --- tables and spectra ---


def _make_samples(folder: Path) -> None:
    scene = make_scene(shape=(24, 24))
    rng = np.random.default_rng(0)
    centre = scene.odc.geobox.extent.centroid.coords[0]
    rows = [
        (
            f"P{place:02d}",
            centre[0] + place,
            centre[1] - place,
            top,
            bottom,
            round(float(rng.uniform(1, 60)), 2),
            "g/kg",
        )
        for place in range(12)
        for top, bottom in ((0, 10), (10, 30))
    ]
    table = pd.DataFrame(rows, columns=["id", "x", "y", "top", "bottom", "soc", "unit"])
    table.to_csv(folder / "long.csv", index=False)
    table.to_csv(folder / "tabs.tsv", index=False, sep="\t")
    table.to_csv(folder / "comma.txt", index=False, sep=";", decimal=",", encoding="utf-16")
    wide = table.pivot_table(index=["id", "x", "y"], columns="top", values="soc").reset_index()
    wide.columns = pd.Index(["id", "lon", "lat", "soc_0-10 [g/kg]", "soc_10-30 [g/kg]"])
    wide["lon"], wide["lat"] = 147.0, -30.0
    wide["date"] = "2020-01-31"
    wide.to_csv(folder / "wide.csv", index=False)
    table.to_excel(folder / "book.xlsx", index=False)
    table.to_parquet(folder / "table.parquet")
    shape = gpd.GeoDataFrame(table, geometry=gpd.points_from_xy(table["x"], table["y"]), crs="EPSG:32755")
    points = shape.drop(columns=["x", "y"])
    points.to_parquet(folder / "points.geoparquet")
    points.to_crs("EPSG:4326").to_file(folder / "points.geojson", driver="GeoJSON")
    points.to_file(folder / "points.gpkg", driver="GPKG")
    points.to_file(folder / "points.fgb", driver="FlatGeobuf")
    (folder / "shapes").mkdir()
    points.to_file(folder / "shapes" / "points.shp")


#: Of vector files, which tell theirs.
_CRS = dict.fromkeys((".geojson", ".gpkg", ".fgb", ".geoparquet", ""))


def _open_samples(path: Path) -> None:
    source = path / "points.shp" if path.is_dir() else path
    open_samples(source, crs=_CRS.get(path.suffix, "EPSG:4326" if path.name == "wide.csv" else "EPSG:32755"))


def _make_spectra(folder: Path) -> None:
    make_farm(folder / "farm", Landscape(shape=(64, 64)), 8, step_nm=50)
    table = pd.read_csv(folder / "farm" / "spectra.csv")
    shutil.rmtree(folder / "farm")
    table.to_csv(folder / "soils.csv", index=False)
    table.to_parquet(folder / "soils.parquet")
    table.to_excel(folder / "soils.xlsx", index=False)
    down = table.set_index(table.columns[0]).T.rename_axis("wavelength").reset_index()
    down.to_csv(folder / "down.csv", index=False)
    shutil.copy(_DATA / "spectra" / "kssl_101453MD01.asd", folder / "real.asd")
    _write_asd(folder / "made.asd")
    lines = "\n".join(f"{nm}\t{20 + nm / 100:.3f}" for nm in range(400, 900, 20))
    (folder / "made.sed").write_text(
        "Comment:\nVersion: 2.3\nInstrument: made\nMeasurement: REFLECTANCE\nChannels: 25\n"
        f"Data:\nWvl\tReflect. %\n{lines}\n"
    )


def _write_asd(path: Path) -> None:
    header = bytearray(484)
    header[:3], header[186], header[199] = b"as7", 1, 0
    struct.pack_into("<ff", header, 191, 400.0, 10.0)
    struct.pack_into("<H", header, 204, 60)
    counts = np.linspace(100, 900, 60, dtype="<f4")
    path.write_bytes(
        bytes(header) + counts.tobytes() + struct.pack("<h16sH", -1, bytes(16), 0) + (2 * counts).tobytes()
    )


def _open_spectra(path: Path) -> None:
    open_spectra(path, splice=path.suffix in {".asd", ".sed"}, quantity=None)


def _make_libraries(folder: Path) -> None:
    make_library(folder / "three", 8, sources=2, step_nm=100)
    names = ("ID", "Point_ID", "OC", "pH.in.H2O", "clay", "CaCO3", "N", "GPS_LAT", "GPS_LONG")
    rng = np.random.default_rng(0)
    (folder / "lucas").mkdir()
    table = pd.DataFrame(rng.uniform(5, 40, (9, len(names))).round(2), columns=list(names))
    table["ID"] = [f"L{place}" for place in range(9)]
    spectra = pd.DataFrame(
        rng.uniform(0.2, 0.5, (9, 40)).round(4), columns=[f"spc.{nm}" for nm in range(400, 2400, 50)]
    )
    table.join(spectra).to_csv(folder / "lucas" / "lucas.csv", index=False)


def _open_library(path: Path) -> None:
    open_library(path)


# --- studies and models ---

_STUDY = """\
name = "Farm"
property = "soc"
[samples]
path = "horizons.csv"
crs = "EPSG:32755"
[depths]
intervals = ["0-5", "5-15"]
[scene]
path = ["stack.tif", "dem.tif"]
classes = { rock = "onehot" }
[model]
kind = "rf"
patch = 3
trees = 40
epochs = 40
members = 1
[validation]
folds = 3
[compare]
models = ["rf", "mtcnn"]
folds = 3
repeats = 2
frozen = []
zones = "zone"
[properties.zn]
name = "Zinc"
unit_inside = "mg/kg"
lowest = 0
highest = 1e6
"""


def _make_studies(folder: Path) -> None:
    (folder / "covariates.toml").write_text(_STUDY, encoding="utf-8")
    root = _DATA.parent.parent / "examples"
    for study in sorted(root.glob("*/*.toml")):
        shutil.copy(study, folder / f"{study.parent.name}_{study.name}")


def _make_models(folder: Path) -> None:
    make_model(folder / "forest.gsm", kind="rf", patch=1)
    make_model(folder / "network.gsm", patch=3, classes=("twi",))
    for head in ("plsr", "resnet", "svr"):
        spectral_model(head, steps=("snv",) if head == "plsr" else ()).save(folder / f"{head}.gsm")


def _open_model(path: Path) -> None:
    bundle = load_model(path)
    edge = bundle.patch + 1
    raw = np.random.default_rng(0).random((len(bundle.bands), edge, edge), np.float32)
    bundle.predict_block(raw, ("mean", "Q0.05"), unseen="missing")


#: Name to kind, in the order in which a run takes them.
KINDS = {
    "geotiff": Kind(_make_tiffs, _open_raster),
    "envi": Kind(_make_envis, _open_raster),
    "store": Kind(_make_stores, _open_raster),
    "product": Kind(_make_products, _open_product),
    "archive": Kind(_make_archives, _open_archive),
    "samples": Kind(_make_samples, _open_samples),
    "spectra": Kind(_make_spectra, _open_spectra),
    "library": Kind(_make_libraries, _open_library),
    "study": Kind(_make_studies, load_study),
    "model": Kind(_make_models, _open_model),
}
