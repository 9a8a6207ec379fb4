"""Which files a run reads, and that outputs are not put in their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import geosoil
from geosoil.errors import OutputError
from geosoil.io.atomic import check_output, keep_inputs
from geosoil.io.librarytables import library_files
from geosoil.io.reads import files_behind, read_files
from geosoil.io.spectra import open_spectra, spectra_files
from geosoil.testing import make_library, write_raster


def raster(path: Path, **options: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    return write_raster(path, np.ones((1, 8, 9), np.float32), **options)  # type: ignore[arg-type]


def vrt(path: Path, name: str) -> Path:
    path.write_text(
        "<VRTDataset rasterXSize='9' rasterYSize='8'><SRS>EPSG:32755</SRS><GeoTransform>0,30,0,0,0,-30</GeoTransform>"
        "<VRTRasterBand dataType='Float32' band='1'><SimpleSource>"
        f"<SourceFilename relativeToVRT='1'>{name}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
        "</VRTRasterBand></VRTDataset>",
        encoding="utf-8",
    )
    return path


def test_of_folders_and_patterns_those_files_that_are_opened(tmp_path: Path) -> None:
    made = {raster(tmp_path / "stack" / name) for name in ("a.tif", "b.tif")}
    (tmp_path / "stack" / "notes.txt").write_text("none of it")
    assert set(read_files(scenes=[tmp_path / "stack"])) == made
    assert set(read_files(scenes=[[str(tmp_path / "stack" / "*.tif")]])) == made
    assert read_files(scenes=[geosoil.open_scene(tmp_path / "stack" / "a.tif")]) == (tmp_path / "stack" / "a.tif",)


def test_what_is_no_file_of_this_machine_gives_none(tmp_path: Path) -> None:
    given = (None, 3, pd.DataFrame(), "https://host/dem.tif", "/vsis3/bucket/dem.tif", tmp_path / "absent.tif", "")
    assert read_files(None, 3, pd.DataFrame(), scenes=given) == ()
    assert files_behind(given, spectra_files) == ()
    assert files_behind(given, library_files) == ()


def test_sources_of_a_vrt_in_a_vrt(tmp_path: Path) -> None:
    dem = raster(tmp_path / "dem.tif")
    inner = vrt(tmp_path / "inner.vrt", "dem.tif")
    outer = vrt(tmp_path / "outer.vrt", "inner.vrt")
    assert {path.resolve() for path in read_files(scenes=[outer])} == {dem, inner, outer}
    # One that shows itself ends too.
    assert vrt(tmp_path / "dem.vrt", "dem.vrt") in read_files(scenes=[tmp_path / "dem.vrt"])


def test_tables_of_wavelengths_beside_a_cube(tmp_path: Path) -> None:
    cube = raster(tmp_path / "cube.tif")
    table = tmp_path / "cube.csv"
    table.write_text("value\n1\n", encoding="utf-8")
    assert read_files(scenes=[cube]) == (cube,)
    table.write_text("wavelength\n500\n", encoding="utf-8")
    assert read_files(scenes=[cube]) == (cube, table)


def test_spectra_and_libraries(tmp_path: Path) -> None:
    make_library(tmp_path / "library", 8, sources=2, step_nm=100)
    tables = sorted((tmp_path / "library").glob("*.csv"))
    (tmp_path / "library" / "library.toml").write_text("", encoding="utf-8")
    assert set(files_behind([tables[0]], library_files)) == {*tables, tmp_path / "library" / "library.toml"}
    assert list(files_behind([tmp_path / "library"], spectra_files)) == tables
    assert list(files_behind([open_spectra(tables[0])], spectra_files)) == tables[:1]


class TestKept:
    """Outputs that are refused, and those that are not."""

    def refused(self, path: Path, *read: object) -> None:
        before = path.read_bytes() if path.is_file() else None
        with pytest.raises(OutputError) as caught:
            check_output(path, overwrite=True, inputs=read)
        assert caught.value.code == "GS-OUTPUT-INPUT"
        assert len(caught.value.message) < 100
        assert str(path) in caught.value.render()
        assert before == (path.read_bytes() if path.is_file() else None)

    def test_a_file_by_any_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        path = raster(tmp_path / f"{'dem' * 30}.tif")
        (tmp_path / "soft.tif").symlink_to(path)
        (tmp_path / "hard.tif").hardlink_to(path)
        for one in (path, Path(path.name), tmp_path / "soft.tif", tmp_path / "hard.tif", tmp_path / "." / path.name):
            self.refused(one, str(path))

    def test_the_header_of_a_cube(self, tmp_path: Path) -> None:
        for name, header in (("cube.dat", "cube.hdr"), ("cube.img", "cube.img.hdr")):
            (tmp_path / name).write_bytes(b"x")
            (tmp_path / header).write_bytes(b"ENVI")
            self.refused(tmp_path / header, tmp_path / name)
        assert check_output(tmp_path / "other.hdr", overwrite=True, inputs=[tmp_path / "cube.dat"])

    def test_a_folder_that_is_read_as_a_whole(self, tmp_path: Path) -> None:
        store = tmp_path / "stack.zarr"
        store.mkdir()
        (store / ".zgroup").write_text("{}", encoding="utf-8")
        self.refused(store / ".zgroup", store)
        # What is new replaces nothing.
        assert check_output(store / "new.tif", overwrite=True, inputs=[store])
        assert check_output(tmp_path / "stack.tif", overwrite=True, inputs=[store])

    def test_others_may_be_replaced(self, tmp_path: Path) -> None:
        dem, other = raster(tmp_path / "dem.tif"), raster(tmp_path / "other.tif")
        keep_inputs([other, tmp_path / "new.tif"], [dem, None, tmp_path / "absent.tif", "https://host/other.tif"])
