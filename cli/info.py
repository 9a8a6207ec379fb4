"""`geosoil info`."""

from __future__ import annotations

import click

from .options import as_json, emit


@click.command("info")
@click.argument("path")
@as_json
def command(path: str, as_json: bool) -> None:
    """Explain PATH: a model, raster, covariate stack, sample table or study file.

    \b
    Example:
      geosoil info soc.gsm
      geosoil info covariates.tif --json
    """
    from geosoil.jobs.info import describe, info

    found = info(path)
    emit(found, describe(found), as_json)
