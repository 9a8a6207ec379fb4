"""`geosoil info`."""

from __future__ import annotations

from pathlib import Path

import click

from .options import as_json, emit


@click.command("info")
@click.argument("path")
@click.option("--quicklook", type=click.Path(path_type=Path), help="Write a picture of a scene to this PNG.")
@click.option("--overwrite", is_flag=True, help="Replace the picture.")
@click.option(
    "--wavelengths",
    type=click.Path(path_type=Path),
    help="Table of a cube's wavelengths (CSV), or the unit of its own: nm, um.",
)
@click.option("--scale", type=click.FloatRange(min=1), help="Stored numbers of a cube are reflectance times this.")
@as_json
def command(
    path: str, quicklook: Path | None, overwrite: bool, wavelengths: Path | None, scale: float | None, as_json: bool
) -> None:
    """Explain PATH: a model, raster, covariate stack, hyperspectral cube, sample table, spectra, spectral library
    or study file.

    \b
    Example:
      geosoil info soc.gsm
      geosoil info covariates.tif --json
      geosoil info cube.dat --quicklook cube.png
      geosoil info library/
    """
    from geosoil.jobs.info import describe, info

    found = info(path, wavelengths=wavelengths, scale=scale, picture=quicklook, overwrite=overwrite)
    emit(found, describe(found), as_json)
