"""Images come onto the map where the rational polynomials and the heights say, as GDAL puts them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.rpc import RPC
from rasterio.warp import reproject

from geosoil.errors import GeosoilError
from geosoil.io.ortho import HeightModel, Rectification, Rectified, check_rpcs, map_grid, open_heights
from geosoil.testing.geometry import ImageModel, RationalModel, fit_rational

CRS = "EPSG:32649"
SHAPE = (70, 60)
X, Y = 690_000.0, 4_020_000.0


def rpc_of(model: RationalModel) -> RPC:
    line, sample, latitude, longitude, height = zip(model.offset, model.scale, strict=True)
    one = [1.0, *[0.0] * 19]
    return RPC(
        line_off=line[0], line_scale=line[1], samp_off=sample[0], samp_scale=sample[1],
        lat_off=latitude[0], lat_scale=latitude[1], long_off=longitude[0], long_scale=longitude[1],
        height_off=height[0], height_scale=height[1],
        line_num_coeff=model.line.tolist(), line_den_coeff=one,
        samp_num_coeff=model.sample.tolist(), samp_den_coeff=one,
        err_bias=0.0, err_rand=0.0,
    )  # fmt: skip


def hills(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(500 + 150 * np.sin((x - X) / 300) * np.cos((y - Y) / 400))


def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Something smooth on the ground."""
    return np.asarray(10 + np.sin((x - X) / 190) + np.cos((y - Y) / 230))


@dataclass(frozen=True)
class Image:
    """A reader of an array."""

    values: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        bands, lines, samples = self.values.shape
        return bands, lines, samples

    def take(self, positions: list[int]) -> Image:
        return Image(self.values[positions])

    def read(self, bands: np.ndarray, rows: tuple[int, int], cols: tuple[int, int]) -> np.ndarray:
        return np.ascontiguousarray(self.values[bands, rows[0] : rows[1], cols[0] : cols[1]])


@dataclass(frozen=True)
class Made:
    model: ImageModel
    rpcs: RPC
    image: Image
    dem: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """An image of hilly ground, seen 15 degrees from the side, so that 150 m of height are 40 m on the map."""
    model = ImageModel(shape=SHAPE, x=X, y=Y, height=500.0, roll=15.0)
    lines, samples = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    x, y = model.ground(lines, samples, hills)
    image = np.stack([pattern(x, y), 3 * pattern(x, y)]).astype(np.float32)
    path = tmp_path_factory.mktemp("dem") / "dem.tif"
    transform = Affine(10, 0, X - 2500, 0, -10, Y + 2500)
    rows, cols = np.mgrid[:500, :500] + 0.5
    heights = hills(transform.c + cols * 10, transform.f - rows * 10).astype("float32")
    profile = {"driver": "GTiff", "height": 500, "width": 500, "count": 1, "dtype": "float32", "nodata": -9999}
    with rasterio.open(path, "w", **profile, crs=CRS, transform=transform) as file:
        file.write(heights, 1)
    return Made(model, rpc_of(fit_rational(model, CRS, 300, 700)), Image(image), path)


def rectified(made: Made, dem: Path | None, resampling: str = "bilinear", **grid: object) -> Rectified:
    heights, _ = open_heights(dem, made.rpcs)
    target = map_grid(made.rpcs, SHAPE, heights, **grid)  # type: ignore[arg-type]
    return Rectified(made.image, (Rectification(made.rpcs, SHAPE, target, heights),) * 2, resampling)


def whole(reader: Rectified) -> np.ndarray:
    bands, rows, cols = reader.shape
    return reader.read(np.arange(bands), (0, rows), (0, cols))


def centres(grid: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = np.mgrid[: grid.shape[0], : grid.shape[1]] + 0.5
    return grid.affine.c + cols * grid.affine.a, grid.affine.f + rows * grid.affine.e


def test_the_ground_comes_back_where_it_is(made: Made) -> None:
    reader = rectified(made, made.dem, "cubic")
    found = whole(reader)
    x, y = centres(reader.rectifications[0].grid)
    inside = np.isfinite(found[0])
    assert inside.sum() > 0.9 * SHAPE[0] * SHAPE[1]
    np.testing.assert_allclose(found[0][inside], pattern(x, y)[inside], atol=0.02)
    np.testing.assert_allclose(found[1][inside], 3 * pattern(x, y)[inside], atol=0.06)


def test_without_heights_hills_are_displaced_and_it_is_said(made: Made) -> None:
    reader = rectified(made, None, "cubic")
    found = whole(reader)[0]
    x, y = centres(reader.rectifications[0].grid)
    off = np.nanmax(np.abs(found - pattern(x, y)))
    assert off > 0.1
    notes = open_heights(None, made.rpcs)[1]
    assert notes == ("no height model: the ground taken as flat at 500 m (HEIGHT_OFF of the RPC); hills are displaced",)


def test_the_default_map_is_the_utm_zone_at_30_m_and_holds_the_image(made: Made) -> None:
    grid = rectified(made, made.dem).rectifications[0].grid
    assert grid.crs is not None
    assert grid.crs.epsg == 32649
    assert grid.resolution.x == 30
    assert grid.affine.c % 30 == grid.affine.f % 30 == 0
    lines, samples = np.array([0.0, 0, 69, 69]), np.array([0.0, 59, 0, 59])
    x, y = made.model.ground(lines, samples, hills)
    col, row = ~grid.affine * (x, y)
    assert ((col > 0) & (col < grid.shape[1]) & (row > 0) & (row < grid.shape[0])).all()
    # And not much more: no row or column is empty but at the turned corners.
    found = whole(rectified(made, made.dem, "nearest"))[0]
    assert np.isfinite(found).any(axis=0)[2:-2].all()
    assert np.isfinite(found).any(axis=1)[2:-2].all()


@pytest.mark.parametrize("way", ["nearest", "bilinear", "cubic"])
@pytest.mark.parametrize("target", [{}, {"crs": "EPSG:4326", "resolution": 0.0003}])
def test_it_equals_gdals_warp(made: Made, way: str, target: dict[str, object]) -> None:
    reader = rectified(made, made.dem, way, **target)
    grid = reader.rectifications[0].grid
    mine = whole(reader)[0]
    theirs = np.full(mine.shape, np.nan, np.float32)
    assert grid.crs is not None
    reproject(
        made.image.values[0], theirs, rpcs=made.rpcs, src_crs="EPSG:4326", src_nodata=np.nan, dst_nodata=np.nan,
        dst_transform=grid.affine, dst_crs=grid.crs.to_wkt(), resampling=Resampling[way], tolerance=1e-9,
        RPC_DEM=str(made.dem), init_dest_nodata=True, XSCALE=1, YSCALE=1,
    )  # fmt: skip
    both = np.isfinite(mine) & np.isfinite(theirs)
    assert both.sum() > 0.95 * np.isfinite(theirs).sum() - 4 * sum(SHAPE)
    apart = np.abs(mine - theirs)[both]
    # Heights are interpolated on the map here and at the point there, which can tip a nearest pixel.
    assert (apart > 0.01).mean() < (0.01 if way == "nearest" else 0.001)


@pytest.mark.parametrize("way", ["nearest", "bilinear", "cubic"])
def test_windows_do_not_matter(made: Made, way: str) -> None:
    reader = rectified(made, made.dem, way)
    expected = whole(reader)
    bands, rows, cols = reader.shape
    found = np.full_like(expected, -1)
    for top in range(0, rows, 17):
        for left in range(0, cols, 23):
            window = (top, min(top + 17, rows)), (left, min(left + 23, cols))
            found[:, window[0][0] : window[0][1], window[1][0] : window[1][1]] = reader.read(np.arange(bands), *window)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(whole(reader.take([1]))[0], expected[1])


@pytest.mark.parametrize("way", ["nearest", "bilinear", "cubic"])
def test_gaps_are_not_interpolated_over(made: Made, way: str) -> None:
    values = made.image.values.copy()
    values[0, 30:33, 20:25] = np.nan
    reader = rectified(made, made.dem, way)
    holed = Rectified(Image(values), reader.rectifications, way)
    found, full = whole(holed), whole(reader)
    places = reader.rectifications[0].places((0, reader.shape[1]), (0, reader.shape[2]))
    line, sample = places.line + places.lines[0], places.sample + places.samples[0]
    # Every cell whose nearest pixel is missing is missing.
    with np.errstate(invalid="ignore"):
        gap = (np.abs(line - 31) < 1.5) & (np.abs(sample - 22) < 2.5)
        near = (np.abs(line - 31) < 3) & (np.abs(sample - 22) < 4)
    assert gap.sum() > 10
    assert np.isnan(found[0][gap]).all()
    kept = np.isfinite(found[0])
    assert (np.isfinite(full[0]) & ~kept & ~near).sum() == 0
    # What is left was not touched by the gap, other than by falling back to fewer pixels.
    np.testing.assert_allclose(found[0][kept], full[0][kept], atol=0.02)
    np.testing.assert_array_equal(found[1], full[1])


def test_cells_beside_the_heights_have_no_value(made: Made, tmp_path: Path) -> None:
    with rasterio.open(made.dem) as file:
        heights, profile = file.read(1), file.profile
    heights[:, :250] = -9999  # the west has none
    with rasterio.open(tmp_path / "half.tif", "w", **profile) as file:
        file.write(heights, 1)
    reader = rectified(made, tmp_path / "half.tif")
    found = whole(reader)[0]
    x, _ = centres(reader.rectifications[0].grid)
    assert np.isnan(found[x < X - 20]).all()
    assert np.isfinite(found[x > X + 20]).any()
    assert reader.rectifications[0].places((0, 10), (0, 10)).unknown > 0


def test_bands_of_two_detectors_each_come_through_their_own_polynomials(made: Made) -> None:
    shifted = ImageModel(shape=SHAPE, x=X, y=Y, height=500.0, roll=15.0, shift=(3.0, -2.0))
    lines, samples = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    image = Image(np.stack([made.image.values[0], pattern(*shifted.ground(lines, samples, hills)).astype(np.float32)]))
    first = rectified(made, made.dem, "cubic").rectifications[0]
    second = replace(first, rpcs=rpc_of(fit_rational(shifted, CRS, 300, 700)))
    found = whole(Rectified(image, (first, second), "cubic"))
    wrong = whole(Rectified(image, (first, first), "cubic"))
    both = np.isfinite(found).all(axis=0)
    assert np.abs(found[0] - found[1])[both].max() < 0.03
    assert np.nanmax(np.abs(wrong[0] - wrong[1])) > 0.3


def test_a_window_beside_the_image_is_empty(made: Made) -> None:
    heights = HeightModel(500.0)
    far = GeoBox((4, 5), Affine(30, 0, X + 50_000, 0, -30, Y), CRS)
    reader = Rectified(made.image, (Rectification(made.rpcs, SHAPE, far, heights),) * 2)
    assert np.isnan(whole(reader)).all()


def rgb(folder: Path) -> Path:
    with rasterio.open(
        folder / "rgb.tif", "w", driver="GTiff", height=4, width=4, count=3, dtype="uint8", crs=CRS,
        transform=Affine(30, 0, X, 0, -30, Y),
    ) as file:  # fmt: skip
        file.write(np.ones((3, 4, 4), np.uint8))
    return folder / "rgb.tif"


def far_dem(folder: Path) -> Path:
    with rasterio.open(
        folder / "far.tif", "w", driver="GTiff", height=4, width=4, count=1, dtype="float32", crs=CRS,
        transform=Affine(30, 0, X + 90_000, 0, -30, Y),
    ) as file:  # fmt: skip
        file.write(np.ones((1, 4, 4), np.float32))
    return folder / "far.tif"


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda made, _: check_rpcs(None, "a_VN.tif"), "GS-RPC-MISSING"),
        (lambda made, folder: rectified(made, folder / "none.tif"), "GS-FILE-MISSING"),
        (lambda made, folder: rectified(made, rgb(folder)), "GS-DEM-BANDS"),
        (lambda made, folder: rectified(made, far_dem(folder)), "GS-DEM-COVER"),
        (lambda made, _: rectified(made, None, crs="EPSG:4326"), "GS-RESOLUTION"),
        (lambda made, _: rectified(made, None, resolution=0.0), "GS-RESOLUTION"),
        (lambda made, _: rectified(made, None, crs="moon"), "GS-CRS-UNKNOWN"),
        (lambda made, _: rectified(made, None, "sinc"), "GS-RESAMPLING"),
    ],
)
def test_what_cannot_be_rectified_is_refused(
    made: Made, tmp_path: Path, call: Callable[[Made, Path], object], code: str
) -> None:
    with pytest.raises(GeosoilError) as caught:
        call(made, tmp_path)
    assert caught.value.code == code
    assert len(caught.value.message) < 100
    assert caught.value.hint or caught.value.details or code == "GS-RESOLUTION"
