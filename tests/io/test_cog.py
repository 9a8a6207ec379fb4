"""Maps as files: true to the values, valid as COGs, honest in their tags, and there whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rio_cogeo.cogeo import cog_validate

from geosoil.errors import OutputError
from geosoil.io.cog import Statistics, write_cog

from ..conftest import file_size_limit  # noqa: TID252  (tests are no package that is installed)

if TYPE_CHECKING:
    from geosoil.types import Float32

ORIGIN = Affine(30, 0, 740_000, 0, -30, 6_680_000)


def numbers(shape: tuple[int, int], missing: float = 0.2, seed: int = 0) -> Float32:
    rng = np.random.default_rng(seed)
    values = rng.lognormal(3, 0.5, shape).astype(np.float32)
    values[rng.random(shape) < missing] = np.nan
    return values


def save(folder: Path, values: Float32, name: str = "soc_0-5cm_mean.tif", **settings: Any) -> Path:
    """Write a map as `geosoil map` does."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    write_cog(
        folder / name,
        lambda rows, columns: values[slice(*rows), slice(*columns)],
        GeoBox(values.shape, ORIGIN, "EPSG:32755"),
        work,
        **{"tags": {"units": "g/kg"}, "description": "Soil carbon 0-5 cm [g/kg]", "unit": "g/kg", **settings},
    )
    assert list(work.iterdir()) == []
    return folder / name


class TestValues:
    """What goes in comes out."""

    @settings(max_examples=12, deadline=None)
    @given(
        shape=st.tuples(st.integers(1, 1100), st.integers(1, 600)),
        nodata=st.sampled_from([float("nan"), -9999.0, 0.0]),
        missing=st.sampled_from([0.0, 0.3, 1.0]),
    )
    def test_the_file_holds_the_values_to_the_bit(
        self, shape: tuple[int, int], nodata: float, missing: float, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        values = numbers(shape, missing)
        with rasterio.open(save(tmp_path_factory.mktemp("map"), values, nodata=nodata)) as file:
            assert np.array_equal(file.read(1, masked=True).filled(np.nan), values, equal_nan=True)
            assert np.array_equal(file.dataset_mask() > 0, np.isfinite(values))
            assert file.transform == ORIGIN
            assert file.crs.to_epsg() == 32755
            assert (file.count, file.dtypes) == (1, ("float32",))

    def test_each_window_is_asked_for_once_and_row_by_row(self, tmp_path: Path) -> None:
        values = numbers((1100, 600))
        asked: list[tuple[tuple[int, int], tuple[int, int]]] = []

        def window(rows: tuple[int, int], columns: tuple[int, int]) -> Float32:
            asked.append((rows, columns))
            return values[slice(*rows), slice(*columns)]

        grid = GeoBox(values.shape, ORIGIN, "EPSG:32755")
        write_cog(tmp_path / "a.tif", window, grid, tmp_path, tags={}, description="", unit="")
        spans = [(0, 512), (512, 1024), (1024, 1100)], [(0, 512), (512, 600)]
        assert asked == [(rows, columns) for rows in spans[0] for columns in spans[1]]

    @pytest.mark.parametrize("nodata", [float("nan"), -9999.0])
    def test_equal_maps_are_equal_bytes(self, nodata: float, tmp_path: Path) -> None:
        values = numbers((600, 700))
        made = [save(tmp_path, values, f"{n}.tif", nodata=nodata, num_threads=n).read_bytes() for n in (1, 2, 5)]
        assert made[0] == made[1] == made[2]

    def test_extreme_values_survive(self, tmp_path: Path) -> None:
        values = np.array([[3.4e38, -3.4e38, 1e-40, 0.0, -0.0, np.nan]], np.float32)
        with rasterio.open(save(tmp_path, values)) as file:
            assert file.read(1).tobytes() == values.tobytes()


class TestLayout:
    """The file is what GIS programs expect of a Cloud Optimized GeoTIFF."""

    @pytest.mark.parametrize("shape", [(3, 2), (512, 512), (513, 40), (1200, 900)])
    @pytest.mark.parametrize("nodata", [float("nan"), -9999.0])
    def test_it_is_a_valid_cog(self, shape: tuple[int, int], nodata: float, tmp_path: Path) -> None:
        path = save(tmp_path, numbers(shape), nodata=nodata)
        valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
        assert (valid, errors, warnings) == (True, [], [])
        with rasterio.open(path) as file:
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert file.block_shapes == [(512, 512)]
            assert file.compression == rasterio.enums.Compression.deflate

    def test_a_large_map_has_overviews_of_the_mean_of_its_valid_cells(self, tmp_path: Path) -> None:
        values = numbers((1200, 1000), missing=0.4)
        with rasterio.open(save(tmp_path, values)) as file:
            assert file.overviews(1) == [2, 4]
        with rasterio.open(tmp_path / "soc_0-5cm_mean.tif", overview_level=0) as half:
            found = half.read(1)
        quads = values.reshape(600, 2, 500, 2).transpose(0, 2, 1, 3).reshape(600, 500, 4)
        counts = np.isfinite(quads).sum(axis=2)
        with np.errstate(invalid="ignore"):
            means = np.where(counts > 0, np.nansum(quads, axis=2) / counts, np.nan)
        np.testing.assert_allclose(found, means, rtol=1e-5)

    def test_a_number_for_no_data_is_not_averaged_into_overviews(self, tmp_path: Path) -> None:
        values = numbers((1200, 1000), missing=0.4)
        path = save(tmp_path, values, nodata=-9999)
        with rasterio.open(path, overview_level=0) as half:
            found = half.read(1, masked=True)
        assert found.mask.any()
        assert found.min() >= np.nanmin(values)

    def test_classes_are_not_mixed_in_overviews(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).integers(0, 2, (1100, 700)).astype(np.float32)
        path = save(tmp_path, values, resampling="nearest")
        with rasterio.open(path, overview_level=1) as quarter:
            assert set(np.unique(quarter.read(1))) == {0.0, 1.0}

    def test_creation_options_of_the_driver_are_taken(self, tmp_path: Path) -> None:
        options = {"COMPRESS": "ZSTD", "BLOCKSIZE": "256"}
        values = numbers((700, 300))
        with rasterio.open(save(tmp_path, values, options=options)) as file:
            assert file.compression == rasterio.enums.Compression.zstd
            assert file.block_shapes == [(256, 256)]
            assert np.array_equal(file.read(1), values, equal_nan=True)

    @pytest.mark.parametrize(
        "options", [{"COMPRESS": "LERC", "MAX_Z_ERROR": "0.5"}, {"NBITS": "16"}, {"COMPRESS": "JPEG"}]
    )
    def test_options_that_would_change_the_values_are_refused(self, options: dict[str, str], tmp_path: Path) -> None:
        with pytest.raises(OutputError) as caught:
            save(tmp_path, numbers((300, 300)), options=options)
        assert "creation option" in caught.value.hint
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["work"]


class TestTags:
    """What the file says of itself."""

    def test_description_unit_and_tags_are_those_given(self, tmp_path: Path) -> None:
        tags = {"long_name": "Kohlenstoff, Böden – 土壤", "units": "g/kg", "model_sha256": "0" * 64}
        with rasterio.open(save(tmp_path, numbers((600, 40)), tags=tags, description="Böden 0-5 cm [g/kg]")) as file:
            assert {name: file.tags()[name] for name in tags} == tags
            assert file.descriptions == ("Böden 0-5 cm [g/kg]",)
            assert file.units == ("g/kg",)

    @pytest.mark.parametrize("nodata", [float("nan"), -9999.0])
    def test_statistics_are_those_of_the_valid_cells(self, nodata: float, tmp_path: Path) -> None:
        values = numbers((700, 600))
        values[:512, :512] = np.nan  # a window without any
        with rasterio.open(save(tmp_path, values, nodata=nodata)) as file:
            tags = {name: float(text) for name, text in file.tags(1).items()}
            assert file.nodata == nodata or np.isnan([file.nodata, nodata]).all()
        good = values[np.isfinite(values)].astype(np.float64)
        assert tags["STATISTICS_MINIMUM"] == good.min()
        assert tags["STATISTICS_MAXIMUM"] == good.max()
        assert tags["STATISTICS_MEAN"] == pytest.approx(good.mean(), rel=1e-12)
        assert tags["STATISTICS_STDDEV"] == pytest.approx(good.std(), rel=1e-12)
        assert tags["STATISTICS_VALID_PERCENT"] == pytest.approx(100 * good.size / values.size, rel=1e-3)

    def test_a_map_without_values_has_no_mean(self, tmp_path: Path) -> None:
        with rasterio.open(save(tmp_path, np.full((30, 20), np.nan, np.float32))) as file:
            assert file.tags(1) == {"STATISTICS_VALID_PERCENT": "0"}

    @settings(max_examples=40, deadline=None)
    @given(
        cuts=st.lists(st.integers(0, 400), max_size=6),
        centre=st.sampled_from([0.0, 1e4, -3e6]),
        missing=st.sampled_from([0.0, 0.5]),
    )
    def test_statistics_do_not_depend_on_the_windows(self, cuts: list[int], centre: float, missing: float) -> None:
        values = (numbers((20, 20), missing) + np.float32(centre)).ravel()
        statistics = Statistics()
        for part in np.split(values, sorted(cuts)):
            statistics.add(part)
        good = values[np.isfinite(values)].astype(np.float64)
        assert (statistics.cells, statistics.valid) == (values.size, good.size)
        assert (statistics.lowest, statistics.highest) == (good.min(), good.max())
        assert statistics.mean == pytest.approx(good.mean(), rel=1e-12)
        assert statistics.sd == pytest.approx(good.std(), rel=1e-9)

    @pytest.mark.parametrize("missing", [0.0, 0.25, 1.0])
    def test_statistics_are_read_back_from_a_file(self, missing: float, tmp_path: Path) -> None:
        values = numbers((100, 90), missing)
        found = Statistics.read(save(tmp_path, values))
        wanted = Statistics()
        wanted.add(values)
        assert (found.cells, found.valid) == (wanted.cells, wanted.valid)
        assert (found.lowest, found.highest, found.mean) == (wanted.lowest, wanted.highest, wanted.mean)
        assert found.sd == pytest.approx(wanted.sd, rel=1e-9, nan_ok=True)


class TestFaults:
    """The final name is absent, old or perfect."""

    @pytest.mark.parametrize(("earlier", "num_threads"), [(False, 1), (True, 2)])
    @pytest.mark.parametrize(
        ("compress", "small"),
        [
            ("DEFLATE", {"GS-NO-SPACE"}),  # the plain file is the larger one
            ("NONE", {"GS-NO-SPACE", "GS-NOT-VERIFIED"}),  # the finished file is: a byte too few goes unreported
        ],
    )
    def test_a_disk_that_is_too_small_by_any_amount_is_seen(
        self, compress: str, small: set[str], earlier: bool, num_threads: int, tmp_path: Path
    ) -> None:
        values = numbers((600, 700))
        options = {"COMPRESS": compress}
        size = save(tmp_path, values, "whole.tif", options=options).stat().st_size
        old = b"an earlier map"
        path = tmp_path / "soc_0-5cm_mean.tif"
        codes = set()
        for shortfall in [1, 2, 100, 4095, 4096, 65_536, size // 2, size - 5000, size - 10]:
            if earlier:
                path.write_bytes(old)
            with file_size_limit(size - shortfall), pytest.raises(OutputError) as caught:
                save(tmp_path, values, options=options, num_threads=num_threads)
            codes.add(caught.value.code)
            assert caught.value.exit_code == 4
            assert str(path) in caught.value.render()
            assert path.read_bytes() == old if earlier else not path.exists()
            assert list((tmp_path / "work").iterdir()) == []
        assert codes == small

    def test_a_failing_source_leaves_nothing(self, tmp_path: Path) -> None:
        def window(rows: tuple[int, int], columns: tuple[int, int]) -> Float32:
            if rows[0]:
                raise OutputError("finished tile 3 is not whole any more", code="GS-SPOOL")
            return np.zeros((rows[1] - rows[0], columns[1] - columns[0]), np.float32)

        grid = GeoBox((1000, 500), ORIGIN, "EPSG:32755")
        with pytest.raises(OutputError, match="tile 3"):
            write_cog(tmp_path / "a.tif", window, grid, tmp_path, tags={}, description="", unit="")
        assert list(tmp_path.iterdir()) == []

    def test_a_value_that_means_no_data_is_refused(self, tmp_path: Path) -> None:
        values = numbers((40, 50))
        values[3, 4] = -9999
        with pytest.raises(OutputError, match="-9999") as caught:
            save(tmp_path, values, nodata=-9999)
        assert caught.value.code == "GS-NODATA-VALUE"
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["work"]

    def test_a_folder_of_the_maps_name_is_an_error_that_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "soc_0-5cm_mean.tif").mkdir()
        with pytest.raises(OutputError, match="a folder of that name is in the way"):
            save(tmp_path, numbers((40, 50)))
        assert list((tmp_path / "work").iterdir()) == []

    def test_a_work_folder_that_is_gone_is_an_error(self, tmp_path: Path) -> None:
        grid = GeoBox((10, 10), ORIGIN, "EPSG:32755")
        with pytest.raises(OutputError) as caught:
            write_cog(
                tmp_path / "a.tif",
                lambda rows, columns: np.zeros((10, 10), np.float32),
                grid,
                tmp_path / "gone",
                tags={},
                description="",
                unit="",
            )
        assert caught.value.code == "GS-NOT-WRITABLE"
        assert list(tmp_path.iterdir()) == []
