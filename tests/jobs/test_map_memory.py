"""A run in a process that the system gives no more memory than the run was told: the bound is hard for any scene."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest
import rasterio
import xarray as xr
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from rasterio.windows import Window

import geosoil
from geosoil.errors import ResourceError
from geosoil.io.gdal import SOURCES_EACH, bounded_sources, close_idle
from geosoil.io.lazy import footprint
from geosoil.io.rasterfile import RasterFile

from .mapping import BANDS, make_model, make_stack, values_of

LIMIT = 1_000_000_000
#: Maps a small scene to its end, and all tiles of a large one; tells the peaks and whether the limit is in force.
MAPPING = """
import json, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
import numpy as np
import geosoil
class Halt(Exception):
    pass
def peak():
    (found,) = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return 1024 * found
def progress(done, total, message):
    if message == "writing maps":
        raise Halt
how = {"max_memory": limit, "tile_size": 256, "num_workers": 2}
plan = geosoil.map("soc.gsm", "small.tif", "small", **how).record["plan"]
told = {"small": peak(), "planned": plan["memory_bytes"]["all"], "large": None}
try:
    geosoil.map("soc.gsm", "large.tif", "large", **how, progress=progress)
except Halt:
    told["large"] = peak()
try:
    np.empty(limit, np.uint8)
    told["refused"] = False
except MemoryError:
    told["refused"] = True
print(json.dumps(told))
"""


def make_large(small: Path, large: Path, edge: int) -> None:
    """The scene in the corner of a large one without other data, which takes no room on the disk."""
    with rasterio.open(small) as source:
        profile = {**source.profile, "width": edge, "height": edge, "sparse_ok": True}
        with rasterio.open(large, "w", **profile) as file:
            file.write(source.read(), window=Window(0, 0, source.width, source.height))
            file.descriptions = source.descriptions


@pytest.mark.timeout(180)
def test_a_process_of_the_least_memory_maps_scenes_of_any_size(tmp_path: Path) -> None:
    make_model(tmp_path / "soc.gsm", kind="rf")
    make_stack(tmp_path / "small.tif", (256, 256), missing=0.0)
    make_large(tmp_path / "small.tif", tmp_path / "large.tif", 4096)
    command = [sys.executable, "-c", MAPPING, str(LIMIT)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["refused"], "the limit is in force"
    assert told["small"] <= told["planned"] <= LIMIT
    # GDAL's cache fills up to its 64 MiB; held as a whole, the large scene would take 201 MB, and its tiles 134.
    assert told["large"] <= told["small"] + 100e6, told
    assert len(list((tmp_path / "large").glob(".geosoil-*/*.f32"))) == 1


def make_blocks(path: Path, edge: int, *, count: int = 3, **profile: Any) -> Path:
    """A scene whose blocks are as large as it is."""
    made = {
        "driver": "GTiff", "width": edge, "height": edge, "count": count, "dtype": "float32", "tiled": True,
        "blockxsize": edge, "blockysize": edge, "crs": "EPSG:32755", "transform": Affine(30, 0, 0, 0, -30, 0),
        "interleave": "pixel", "compress": "deflate", "zlevel": 1, **profile,
    }  # fmt: skip
    with rasterio.open(path, "w", **made) as file:
        for index in file.indexes:
            file.write(np.full((edge, edge), index, np.float32), index)
        file.descriptions = [*BANDS, *(f"other {place}" for place in range(count))][:count]
    return path


class TestBlocks:
    """What GDAL keeps of a file's own blocks, which may be much larger than tiles, is in the plan."""

    def test_each_worker_is_planned_with_a_block_of_all_bands(self, tmp_path: Path) -> None:
        model = make_model(kind="rf")
        paths = [make_blocks(tmp_path / f"{edge}.tif", edge, compress="none", count=9) for edge in (512, 1024)]
        small, large = (geosoil.plan(model, path, tile_size=128, num_workers=2).memory["workers"] for path in paths)
        assert large - small == 2 * 9 * 4 * (1024**2 - 512**2)

    def test_a_block_that_does_not_fit_is_refused_before_it_is_read_by_workers(self, tmp_path: Path) -> None:
        model, path = make_model(kind="rf"), make_blocks(tmp_path / "s.tif", 2048, count=6)
        close_idle()  # what files of other tests keep
        found = geosoil.plan(model, path, max_memory="16GB", num_workers=2, tile_size=128).memory
        assert found["workers"] > 2 * 6 * 4 * 2048**2
        one = (
            found["all"] - found["blocks"] - found["workers"] // 2
        )  # what one worker needs, its block of 100 MB among it
        with pytest.raises(ResourceError) as caught:
            geosoil.map(model, path, tmp_path / "maps", max_memory=one - 50_000_000, num_workers=2, tile_size=128)
        assert caught.value.code == "GS-MEMORY"
        assert not (tmp_path / "maps").exists()

    def test_a_block_that_several_tiles_touch_is_decoded_once_where_there_is_room(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = make_model(patch=9)
        make_stack(tmp_path / "s.tif", (400, 500))
        decoded: list[Any] = []
        decode = RasterFile._decoded

        def counted(file: RasterFile, *where: Any) -> Any:
            decoded.append(where)
            return decode(file, *where)

        monkeypatch.setattr(RasterFile, "_decoded", counted)
        maps = {}
        for name in ("room", "none"):
            decoded.clear()
            made = geosoil.map(model, tmp_path / "s.tif", tmp_path / name, tile_size=128, num_workers=2)
            maps[name] = values_of(made.maps)
            # A corner is looked at before the plan is made.
            windows = [where for where in decoded if where[1] != (0, 2)]
            blocks = made.record["plan"]["memory_bytes"]["blocks"]
            if name == "room":
                assert blocks > 0
                assert len(windows) == len({str(where) for where in windows}) == 4 * 4
            else:
                assert blocks == 0
                assert len(windows) == 16
                assert sum((rows[1] - rows[0]) * (cols[1] - cols[0]) for _, rows, cols in windows) > 400 * 500
            monkeypatch.setattr("geosoil.jobs.plan._room", lambda *args: (0, 0))
        np.testing.assert_array_equal(maps["room"], maps["none"])

    def test_what_is_planned_is_what_an_open_file_takes(self, tmp_path: Path) -> None:
        array = geosoil.open_scene(make_blocks(tmp_path / "s.tif", 1024, count=20)).data
        kept = footprint(array, 1, 1).kept
        block = 20 * 4 * 1024**2
        assert block < kept < 1.1 * block, "constant cells take little room as they are stored"
        close_idle()
        before = psutil.Process().memory_info().rss
        array[:, :1, :1].compute()
        opened = psutil.Process().memory_info().rss - before
        # GDAL's own cache of 64 MiB, which the plan counts apart, fills too.
        assert 0.8 * block < opened < kept + 80 * 2**20
        close_idle()
        assert before + opened - psutil.Process().memory_info().rss > 0.7 * block

    @pytest.mark.parametrize(("dtype", "copies"), [("int16", 1.5), ("uint8", 1.25), ("float32", 2), ("float64", 3)])
    def test_numbers_count_as_wide_as_they_are_stored(self, dtype: str, copies: float, tmp_path: Path) -> None:
        scene = geosoil.open_scene(make_blocks(tmp_path / "s.tif", 512, dtype=dtype))
        assert footprint(scene.data, 30, 20).own == copies * 4 * scene.sizes["band"] * 30 * 20

    def test_bands_apart_and_plain_numbers_keep_little(self, tmp_path: Path) -> None:
        apart = make_blocks(tmp_path / "apart.tif", 512, interleave="band")
        plain = make_blocks(tmp_path / "plain.tif", 512, interleave="band", compress="none")
        block = 4 * 512**2
        assert 0 < footprint(geosoil.open_scene(apart).data, 1, 1).kept <= block
        assert footprint(geosoil.open_scene(plain).data, 1, 1).kept == 0
        assert footprint(np.zeros((3, 4, 4)), 1, 1).kept == 0


#: Reads a corner, so that all is loaded, then a window; tells what it took at its peak, and what was planned.
READING = """
import json, sys
import geosoil
from geosoil.io.lazy import footprint, reader_of
def status(name):
    return 1024 * int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith(name)))
scene = geosoil.open_scene(sys.argv[1].split(","), align=sys.argv[2] or None)
reader, edge = reader_of(scene.data), int(sys.argv[3])
bands = list(range(reader.shape[0]))
import numpy as np
reader.read(np.array(bands), (0, 16), (0, 16))
before = status("VmRSS")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
window = reader.read(np.array(bands), (0, edge), (0, edge))
print(json.dumps([status("VmHWM") - before, footprint(scene.data, edge, edge).own, window.nbytes]))
"""


def make_swath(path: Path, edge: int, bands: int = 24) -> None:
    """A file as EMIT has them, whose swath lies aslant on the map, as far as one can."""
    row, column = np.indices((edge, edge))
    across, down = 1 + (row + column) // 2, 1 + (edge - 1 + row - column) // 2
    with h5py.File(path, "w") as file:
        numbers = np.random.default_rng(0).random((edge, edge, bands), np.float32)
        file.create_dataset("reflectance", data=numbers, chunks=(256, 256, bands), compression="gzip", shuffle=True)
        file["sensor_band_parameters/wavelengths"] = np.linspace(400, 2400, bands)
        file["location/glt_x"], file["location/glt_y"] = across.astype(np.int32), down.astype(np.int32)
        file.attrs["geotransform"] = np.array([13.0, 0.0005, 0, 52.5, 0, -0.0005])
        file.attrs["spatial_ref"] = CRS("EPSG:4326").to_wkt()


def make_cubes(path: Path, edge: int, bands: int = 24) -> None:
    """A file as PRISMA has them."""
    with h5py.File(path, "w") as file:
        for side, low, high in (("Vnir", 400, 1000), ("Swir", 950, 2400)):
            numbers = np.random.default_rng(0).integers(1, 65_000, (edge, bands, edge), np.uint16)
            place = f"HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields/{side.upper()}_Cube"
            file.create_dataset(place, data=numbers, chunks=(64, bands, 256), compression="gzip")
            file.attrs[f"List_Cw_{side}"] = np.linspace(high, low, bands)
            file.attrs[f"List_Fwhm_{side}"] = np.full(bands, 10.0)
            file.attrs[f"L2Scale{side}Min"], file.attrs[f"L2Scale{side}Max"] = 0.0, 0.9
        for name, value in (
            ("ULcorner_easting", 300_015.0),
            ("ULcorner_northing", 5_100_015.0),
            ("LRcorner_easting", 300_015.0 + 30 * (edge - 1)),
            ("LRcorner_northing", 5_100_015.0 - 30 * (edge - 1)),
            ("Epsg_Code", 32633),
        ):
            file.attrs[f"Product_{name}" if "corner" in name else name] = value


@pytest.mark.parametrize("kind", ["finer", "turned", "zarr", "netcdf", "emit", "prisma"])
def test_a_window_takes_no_more_than_is_planned(kind: str, tmp_path: Path) -> None:
    """Of files on another grid, which GDAL holds several times over to warp them, and of stores."""
    edge, sources, align = 900, [str(tmp_path / "s.tif")], ""
    if kind in {"finer", "turned"}:
        make_stack(tmp_path / "s.tif", (edge, edge))
        other = {"crs": "EPSG:32755", "transform": Affine(15, 0, 740_000, 0, -15, 6_680_000)}
        if kind == "turned":
            other = {"crs": "EPSG:32756", "transform": Affine(30, 0, 140_000, 0, -30, 6_690_000)}
        make_blocks(tmp_path / "other.tif", 2048, count=9, blockxsize=256, blockysize=256, interleave="band", **other)
        with rasterio.open(tmp_path / "other.tif", "r+") as file:
            file.descriptions = [f"other {place}" for place in range(9)]
        align = sources[0]
        sources.append(str(tmp_path / "other.tif"))
    elif kind in {"emit", "prisma"}:
        sources = [str(tmp_path / ("a.nc" if kind == "emit" else "a.he5"))]
        (make_swath if kind == "emit" else make_cubes)(Path(sources[0]), edge)
    else:
        shape = (24, edge, edge)
        grid = xr_coords(GeoBox(shape[1:], Affine(30, 0, 740_000, 0, -30, 6_680_000), "EPSG:32755"), dims=("y", "x"))
        numbers = np.random.default_rng(0).integers(0, 999, shape).astype(np.float32)
        cube = xr.DataArray(numbers, dims=("band", "y", "x"), coords={**grid}, name="v")
        cube.attrs["grid_mapping"] = "spatial_ref"
        path = tmp_path / ("s.zarr" if kind == "zarr" else "s.nc")
        if kind == "zarr":
            cube.to_dataset().to_zarr(path, encoding={"v": {"chunks": (24, 256, 256)}})
        else:
            cube.to_netcdf(path, encoding={"v": {"chunksizes": (24, 256, 256), "zlib": True, "complevel": 1}})
        sources = [str(path)]
    command = [sys.executable, "-W", "ignore", "-c", READING, ",".join(sources), align, str(edge)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    taken, planned, window = json.loads(done.stdout)
    # GDAL's own cache of 64 MiB is planned apart.
    assert window <= taken <= planned + (80 * 2**20 if align else 0)
    assert planned < 6 * taken


def make_mosaic(folder: Path, sources: int, edge: int, count: int) -> Path:
    """A VRT of files side by side, each of one block."""
    first = make_blocks(folder / "part-0.tif", edge, count=count)
    for place in range(1, sources):
        (folder / f"part-{place}.tif").hardlink_to(first)
    parts = [
        f'<VRTRasterBand dataType="Float32" band="{band}"><Description>band {band}</Description>'
        + "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="1">part-{place}.tif</SourceFilename>'
            f"<SourceBand>{band}</SourceBand>"
            f'<SourceProperties RasterXSize="{edge}" RasterYSize="{edge}" DataType="Float32"/>'
            f'<SrcRect xOff="0" yOff="0" xSize="{edge}" ySize="{edge}"/>'
            f'<DstRect xOff="{place * edge}" yOff="0" xSize="{edge}" ySize="{edge}"/></SimpleSource>'
            for place in range(sources)
        )
        + "</VRTRasterBand>"
        for band in range(1, count + 1)
    ]
    head = f'<VRTDataset rasterXSize="{sources * edge}" rasterYSize="{edge}"><SRS>EPSG:32755</SRS>'
    grid = "<GeoTransform>0, 30, 0, 0, 0, -30</GeoTransform>"
    path = folder / "mosaic.vrt"
    path.write_text(f"{head}{grid}{''.join(parts)}</VRTDataset>", encoding="utf-8")
    return path


def test_a_mosaic_keeps_as_many_sources_open_as_are_planned(tmp_path: Path) -> None:
    sources, edge, count = 30, 512, 8
    array = geosoil.open_scene(make_mosaic(tmp_path, sources, edge, count)).data
    block = 4 * count * edge**2
    assert SOURCES_EACH * block < footprint(array, 1, 1).kept < 1.1 * SOURCES_EACH * block

    def held() -> int:
        """Sources whose blocks GDAL holds after one cell of each was read."""
        for place in range(sources):
            assert array[:, :1, place * edge].compute().ravel().tolist() == list(range(1, count + 1))
        return len({file.path for file in psutil.Process().open_files() if Path(file.path).parent == tmp_path})

    with bounded_sources(1):
        assert held() == SOURCES_EACH
    with ExitStack() as first, ExitStack() as second:  # two runs, of which the first ends first
        first.enter_context(bounded_sources(1))
        second.enter_context(bounded_sources(1))
        assert held() == 2 * SOURCES_EACH
        first.close()
        assert held() == SOURCES_EACH
    assert held() == sources
    close_idle()
    assert not any(Path(file.path).parent == tmp_path for file in psutil.Process().open_files())
