"""A header that names the wrong interleave is found where that is sure, and no right one is ever doubted."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from geosoil.errors import InputError
from geosoil.io.raster import open_scene
from geosoil.testing import make_cube

from .cubes import ORDERS, wavelengths, write_envi

if TYPE_CHECKING:
    from geosoil.types import Float64

Refusal = Callable[..., InputError]
#: Bands, rows and columns that do not divide each other.
SHAPE = (67, 40, 53)


def landscape(shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Float64:
    """Two covers with absorptions of their own, mixed smoothly, bright and less bright."""
    rng = np.random.default_rng(seed)
    nm = np.linspace(400, 2400, shape[0])
    rising = 0.45 * (1 - np.exp(-(nm - 300) / 500))
    wells = sum(depth * np.exp(-(((nm - at) / 90) ** 2)) for at, depth in ((900, 0.05), (1400, 0.2), (1900, 0.3)))
    one, other = rising - wells, 0.7 * rising - 1.2 * wells + 0.05
    yy, xx = np.mgrid[: shape[1], : shape[2]]
    share = (0.5 + 0.4 * np.sin(xx / 9 + seed) * np.cos(yy / 7))[np.newaxis]
    light = 1 + 0.1 * np.cos(yy / 11 + xx / 13)
    cube = light * (share * one[:, None, None] + (1 - share) * other[:, None, None])
    return np.asarray(np.clip(cube, 0.01, 1) + 0.004 * rng.standard_normal(shape))


def stored(cube: Float64) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return np.round(cube * 10_000).astype(np.int16)


@pytest.mark.parametrize(("real", "said"), [("bil", "bsq"), ("bip", "bsq"), ("bip", "bil"), ("bsq", "bil")])
def test_a_wrong_interleave_is_refused_and_the_right_one_is_named(
    refusal: Refusal, tmp_path: Path, real: str, said: str
) -> None:
    entries = {"reflectance scale factor": 10_000}
    path = write_envi(tmp_path / "right.dat", stored(landscape()), entries, interleave=real)
    assert open_scene(path).attrs["quantity"] == "reflectance"
    path = write_envi(tmp_path / "c.dat", stored(landscape()), {**entries, "interleave": said}, interleave=real)
    error = refusal(path)
    assert error.code == "GS-INTERLEAVE"
    assert f"interleave = {real}" in error.hint
    assert said in error.render()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cube as a sensor sees it, with noise, stripes, a step between detectors and corners without data."""
    return make_cube(tmp_path_factory.mktemp("made") / "c.dat", (61, 75), family="ZY1E", seed=4).path


def ordered(made: Path) -> tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.int16]]]:
    """The header of the made cube, and its numbers by band, row and column."""
    header = made.with_suffix(".hdr").read_text(encoding="ascii")
    real = header.split("interleave = ")[1][:3]
    shape = np.array((166, 61, 75))[list(ORDERS[real])]
    return header, np.fromfile(made, "<i2").reshape(shape).transpose(np.argsort(ORDERS[real]))


def rewritten(path: Path, header: str, numbers: np.ndarray[Any, Any], real: str, said: str) -> Path:
    """Numbers in one order, under a header that says another."""
    np.ascontiguousarray(numbers.transpose(ORDERS[real])).astype("<i2").tofile(path)
    text = re.sub("interleave = ...", f"interleave = {said}", header)
    path.with_suffix(".hdr").write_text(text, encoding="ascii")
    return path


def test_lines_and_samples_that_are_exchanged_are_found(refusal: Refusal, tmp_path: Path, made: Path) -> None:
    header, numbers = ordered(made)
    exchanged = header.replace("lines = 61", "lines = 75").replace("samples = 75", "samples = 61")
    assert exchanged != header
    for order in ORDERS:
        error = refusal(rewritten(tmp_path / "c.dat", exchanged, numbers, order, order))
        assert (error.code, error.hint) == ("GS-LINES-SAMPLES", "correct the header: lines = 61, samples = 75")


def test_a_wrong_interleave_of_a_sensor_s_cube_is_found(refusal: Refusal, tmp_path: Path, made: Path) -> None:
    header, numbers = ordered(made)
    for real, said in permutations(ORDERS, 2):
        error = refusal(rewritten(tmp_path / "c.dat", header, numbers, real, said))
        assert (error.code, error.hint) == ("GS-INTERLEAVE", f"correct the header: interleave = {real}")


@pytest.mark.parametrize("how", ["as it is", "smooth", "noisy", "nothing but noise", "bright and dark columns"])
def test_a_sensor_s_cube_in_the_right_order_is_not_doubted(tmp_path: Path, made: Path, how: str) -> None:
    header, numbers = ordered(made)
    gaps, rng = numbers == -9999, np.random.default_rng(2)
    values, spread = numbers.astype(np.float64), numbers[numbers != -9999].std()
    ways: dict[str, Callable[[], Float64]] = {
        "as it is": lambda: values,
        "smooth": lambda: gaussian_filter(np.where(gaps, values[~gaps].mean(), values), (0, 4, 4)),
        "noisy": lambda: values + rng.normal(0, 0.4 * spread, values.shape),
        "nothing but noise": lambda: rng.uniform(500, 4000, values.shape),
        "bright and dark columns": lambda: values * rng.uniform(0.6, 1.4, (166, 1, 75)),
    }
    found = np.where(gaps, -9999, np.clip(ways[how](), 1, 20_000)).round()
    for order in ORDERS:
        assert open_scene(rewritten(tmp_path / "c.dat", header, found, order, order)).shape == (166, 61, 75)


def odd_cubes(shape: tuple[int, int, int], rng: np.random.Generator) -> dict[str, Float64]:
    """What tests, instruments and programs make that is no usual landscape."""
    bands, rows, cols = shape
    yy, xx = np.mgrid[:rows, :cols]
    waves = np.stack([np.sin(yy / rng.uniform(3, 20) + 6 * rng.random()) + np.cos(xx / 9) for _ in range(bands)])
    return {
        "noise": rng.random(shape),
        "levels": rng.random((bands, 1, 1)) + 0.01 * rng.random(shape),
        "unrelated images": waves + 3,
        "flat spectra on a slope": 0.1 + (yy + xx) / 200 + 0.01 * rng.random(shape),
        "flat spectra in stripes": rng.random((1, rows, 1)) + 0.01 * rng.random(shape),
        "unrelated cells": rng.random((1, rows, cols)) * np.linspace(0.5, 1, bands)[:, None, None],
        "counting": np.arange(bands * rows * cols, dtype=float).reshape(shape) / (bands * rows * cols),
        "constant": np.full(shape, 0.3),
    }


@pytest.mark.parametrize("interleave", sorted(ORDERS))
def test_no_right_header_is_doubted_whatever_the_cube_holds(tmp_path: Path, interleave: str) -> None:
    rng, counts = np.random.default_rng(7), {"data units": "DN"}
    for shape in ((17, 16, 21), (33, 50, 70), (90, 44, 22), (40, 16, 61)):
        cubes = {"a landscape": landscape(shape), **odd_cubes(shape, rng)}
        for name, cube in cubes.items():
            path = write_envi(tmp_path / "c.dat", np.round(cube * 9000).astype(np.int32), counts, interleave=interleave)
            scene = open_scene(path)
            assert scene.shape == shape, (name, shape)


def test_gaps_do_not_hide_a_wrong_interleave_nor_make_one(refusal: Refusal, tmp_path: Path) -> None:
    cube, entries = stored(landscape()), {"data ignore value": -9999}
    cube[:, :, :12] = -9999
    good = "{" + ", ".join("0" if 30 <= place < 34 else "1" for place in range(SHAPE[0])) + "}"
    for interleave in ORDERS:
        empty = np.where(np.arange(SHAPE[0])[:, None, None] // 4 == 8, np.int16(-9999), cube)
        path = write_envi(tmp_path / f"{interleave}.dat", empty, {**entries, "bbl": good}, interleave=interleave)
        assert open_scene(path).shape == SHAPE
    path = write_envi(tmp_path / "c.dat", cube, {**entries, "interleave": "bsq"}, interleave="bil")
    assert refusal(path).code == "GS-INTERLEAVE"


@pytest.mark.parametrize("shape", [(12, 24, 36), (40, 20, 53), (40, 33, 80), (30, 8, 41)])
def test_where_it_cannot_be_told_for_sure_the_header_is_believed(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    cube = stored(landscape(shape))
    for real, said in product(ORDERS, ORDERS):
        entries = {"reflectance scale factor": 10_000, "interleave": said}
        path = write_envi(tmp_path / f"{real}_{said}.dat", cube, entries, interleave=real)
        assert len(open_scene(path).wavelength) == len(wavelengths(shape[0]))


#: Opens a small cube, so that all that is imported is there, then a large one in 64 MB more.
OPEN = """
import re, resource, sys
from geosoil.io.raster import open_scene
open_scene(sys.argv[1])
now = 1024 * int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1])
resource.setrlimit(resource.RLIMIT_AS, (now + 64 * 2**20,) * 2)
print(open_scene(sys.argv[2]).shape)
"""


def test_a_large_cube_is_not_mapped_to_look_at_it(tmp_path: Path) -> None:
    small = write_envi(tmp_path / "small.dat", stored(landscape()))
    large = write_envi(tmp_path / "large.dat", stored(landscape()), lines=2000, samples=1210)
    with large.open("r+b") as file:
        file.truncate(67 * 2000 * 1210 * 2)
    done = subprocess.run([sys.executable, "-c", OPEN, small, large], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "(67, 2000, 1210)"), done.stderr
