"""The laboratory-like spectra that a model generates, as a cube."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from geosoil.bands import Bands
from geosoil.errors import UsageError
from geosoil.grid.patches import read_window
from geosoil.io.atomic import check_output
from geosoil.io.geotiff import write_cube
from geosoil.io.reads import read_files
from geosoil.jobs.matching import Masks, Reading, Scene, prepare
from geosoil.jobs.task import Task
from geosoil.models.bundle import Bundle, load_model
from geosoil.models.spectral import SpectralPredictor
from geosoil.prep.masks import MaskRules
from geosoil.types import PathLike, Progress, quiet

if TYPE_CHECKING:
    import xarray as xr

    from geosoil.types import Float32, Int64

__all__ = ["check_generate", "generate"]

#: Rows that go through the translator at once.
_ROWS = 32


def generate(
    model: Bundle | PathLike,
    scene: Scene,
    out: PathLike,
    *,
    masks: MaskRules | Mapping[str, Any] | Literal["auto"] | None = "auto",
    land_use: PathLike | None = None,
    wavelengths: PathLike | None = None,
    scale: float | None = None,
    crs: str | None = None,
    overwrite: bool = False,
    progress: Progress = quiet,
) -> Path:
    """Write the spectra that a model makes of a cube: a float32 GeoTIFF on the cube's grid.

    The spectra are those that the model's regressions read: on the model's bands, after its preprocessing. Cells that
    are masked are empty.

    Parameters
    ----------
    model : Bundle or path
        A model of spectra that generates some.
    scene : path or xarray object
        The cube; see `open_scene`.
    out : path
        The GeoTIFF; written whole or not at all.
    masks, land_use, wavelengths, scale, crs
        As for `geosoil.map`.

    Raises
    ------
    UsageError
        ``GS-NO-FUSION``: the model generates nothing.
    InputError, ModelError, OutputError
        As `geosoil.map`.
    """
    read = read_files(model, wavelengths, scenes=[scene, land_use])
    path, model = check_generate(model, out, overwrite=overwrite, inputs=read)
    reading = Reading(crs=crs, wavelengths=wavelengths, scale=scale)
    task, stack = prepare(model, scene, ("mean",), "error", reading, Masks(masks, land_use))
    predictor = _translating(task.models[0])

    def windows(rows: tuple[int, int], columns: tuple[int, int]) -> Callable[[Int64], Float32]:
        made = _made(task, predictor, stack, rows, columns)
        return lambda positions: made[positions]

    write_cube(path, windows, _bands(task, predictor), stack.odc.geobox, tags=_tags(task, predictor), progress=progress)
    return path


def check_generate(
    model: Bundle | PathLike, out: PathLike, *, overwrite: bool = False, inputs: Iterable[object] = ()
) -> tuple[Path, Bundle]:
    """The file to write and the model, when there is nothing against it; raises as `generate`, and writes nothing.

    `inputs` are what the run reads, as `io.reads.read_files` lists it.
    """
    path = check_output(out, overwrite=overwrite, inputs=inputs)
    if path.suffix.lower() not in {".tif", ".tiff"}:
        raise UsageError(
            f"{path.name}: the spectra are written as a GeoTIFF",
            code="GS-SUFFIX",
            hint=f"name it {path.stem or 'generated'}.tif",
        )
    bundle = model if isinstance(model, Bundle) else load_model(model)
    _translating(bundle)
    return path, bundle


def _translating(model: Bundle) -> SpectralPredictor:
    predictor = model.predictor
    if isinstance(predictor, SpectralPredictor) and predictor.translator is not None:
        return predictor
    raise UsageError(
        f"model {model.card.name!r} generates no spectra",
        code="GS-NO-FUSION",
        hint='train one that reads them: spectra = "mixed" or "generated" in [invert]',
    )


def _made(
    task: Task, predictor: SpectralPredictor, stack: xr.DataArray, rows: tuple[int, int], columns: tuple[int, int]
) -> Float32:
    """Generated spectra of a window, (q, h, w)."""
    made = np.empty((len(predictor.preprocess.wavelength_nm), rows[1] - rows[0], columns[1] - columns[0]), np.float32)
    for top in range(rows[0], rows[1], _ROWS):
        bottom = min(top + _ROWS, rows[1])
        block = read_window(stack, (top, bottom), columns)
        cells = block[list(task.places[0])]
        whole = np.isfinite(cells).all(axis=0)
        rows_of = np.ascontiguousarray(np.where(whole, cells, np.float32(0.1)).reshape(len(cells), -1).T)
        spectra = predictor.generate(predictor.preprocess.apply(rows_of)).astype(np.float32).reshape(*whole.shape, -1)
        spectra[~whole] = np.nan
        if task.masking is not None:
            spectra[task.masking.flags(block) != 0] = np.nan
        made[:, top - rows[0] : bottom - rows[0]] = spectra.transpose(2, 0, 1)
    return made


def _bands(task: Task, predictor: SpectralPredictor) -> Bands:
    wavelength = tuple(float(one) for one in predictor.preprocess.wavelength_nm)
    card = task.models[0].card
    same = wavelength == tuple(card.wavelength_nm)
    names = task.models[0].bands if same else tuple(f"G{place:03d}" for place in range(1, len(wavelength) + 1))
    return Bands(names, wavelength_nm=wavelength, fwhm_nm=card.fwhm_nm if same else ())


def _tags(task: Task, predictor: SpectralPredictor) -> dict[str, str]:
    model = task.models[0]
    steps = ", ".join(str(step) for step in predictor.preprocess.steps)
    return {
        "long_name": "laboratory-like spectra",
        "quantity": "preprocessed spectra" if steps else "reflectance",
        "preprocessing": steps or "none",
        "model_sha256": model.sha256,
        "source": f"model {model.card.name!r}",
    }
