"""`geosoil map`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from .options import as_json, emit, listed, log_options, pairs, progress_bar, start_logging, workers


@click.command("map")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.argument("scene")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--statistics", default="mean", help="Maps of each depth: mean, quantiles such as Q0.05; with commas.")
@click.option(
    "--tile-size",
    type=click.IntRange(128),
    help="Edge of the tiles, a multiple of 128 cells; with --resume that of the earlier run.",
)
@click.option("--max-memory", default="4GB", show_default=True, help="Bound of the memory; a number alone is bytes.")
@click.option("--scheduler", metavar="ADDRESS", help="Of a dask.distributed cluster: tcp://HOST:8786.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where patch networks run.",
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@click.option("--overwrite", is_flag=True, help="Replace earlier maps in OUT.")
@click.option("--keep-going", is_flag=True, help="Leave tiles that cannot be read empty, and finish the rest.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--band-map", multiple=True, metavar="MODEL=SCENE", callback=pairs, help="Band that stands for another.")
@click.option("--align", metavar="LIKE", help="Put bands on other grids on the grid of this raster.")
@click.option("--crs", help="CRS of a scene that has none.")
@click.option(
    "--samples",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Points to show: a GeoPackage of train --predictions; may be given again.",
)
@click.option(
    "--unseen",
    type=click.Choice(["error", "missing"]),
    default="error",
    show_default=True,
    help="Classes that training did not see.",
)
@click.option("--nodata", type=float, default=float("nan"), show_default=True, help="Value of cells without one.")
@click.option("--co", multiple=True, metavar="NAME=VALUE", callback=pairs, help="Creation option of GDAL's COG driver.")
@click.option("--masks/--no-masks", default=True, help="Leave out what is no bare soil, for models of spectra.")
@click.option("--mask", "rules", multiple=True, metavar="RULE=VALUE", callback=pairs, help="Threshold, as ndvi=0.25.")
@click.option("--land-use", type=click.Path(path_type=Path), help="Raster with codes of the land use.")
@click.option("--leave-out", default="", metavar="CODES", help="Codes of the land use that are left out, with commas.")
@click.option(
    "--wavelengths",
    type=click.Path(path_type=Path),
    help="Table of a cube's wavelengths, nm (CSV), or the unit of its own: nm, um.",
)
@click.option("--scale", type=float, help="A cube's numbers are reflectance times this, such as 10000.")
@click.option("--spectra", type=click.Path(path_type=Path), help="Cube of laboratory-like spectra to write (.tif).")
@workers
@as_json
@log_options
def command(
    models: tuple[str, ...],
    scene: str,
    out: Path,
    statistics: str,
    tile_size: int | None,
    max_memory: str,
    scheduler: str | None,
    device: Any,
    resume: bool,
    overwrite: bool,
    keep_going: bool,
    dry_run: bool,
    band_map: dict[str, str],
    align: str | None,
    crs: str | None,
    samples: tuple[Path, ...],
    unseen: Any,
    nodata: float,
    co: dict[str, str],
    masks: bool,
    rules: dict[str, str],
    land_use: Path | None,
    leave_out: str,
    wavelengths: Path | None,
    scale: float | None,
    spectra: Path | None,
    num_workers: int | None,
    as_json: bool,
    quiet: bool,
    verbose: int,
    log_file: Path | None,
) -> None:
    """Map SCENE with each MODEL; maps, a QGIS project and a report go to OUT.

    \b
    Example:
      geosoil map soc.gsm covariates.tif maps/
      geosoil map soc.gsm pb.gsm "covariates/*.tif" maps/ --statistics mean,Q0.05,Q0.95 --max-memory 2GB
    """
    from geosoil.io.reads import read_files
    from geosoil.jobs.generate import check_generate, generate
    from geosoil.jobs.map import map, plan
    from geosoil.jobs.matching import typed_rules

    if not masks and (rules or land_use or leave_out):
        raise click.UsageError("--no-masks takes away what --mask, --land-use and --leave-out ask for")
    start_logging(verbose, quiet, log_file)
    common: dict[str, Any] = {
        "statistics": listed(statistics),
        "tile_size": tile_size,
        "max_memory": max_memory,
        "num_workers": num_workers,
        "device": device,
        "band_map": band_map,
        "align": align,
        "crs": crs,
        "masks": typed_rules(rules, leave_out) if masks else None,
        "land_use": land_use,
        "wavelengths": wavelengths,
        "scale": scale,
    }
    if dry_run:
        found = plan(models, scene, **common)
        emit({"plan": found.to_dict()}, found.describe(), as_json)
        return
    if spectra is not None:
        read = read_files(models, samples, wavelengths, scenes=[scene, land_use, align])
        check_generate(models[0], spectra, overwrite=overwrite, inputs=read)
    with progress_bar(quiet) as progress:
        made = map(
            models,
            scene,
            out,
            **common,
            scheduler=scheduler,
            resume=resume,
            overwrite=overwrite,
            keep_going=keep_going,
            unseen=unseen,
            nodata=nodata,
            co=co,
            samples=samples or None,
            progress=progress,
            command=shlex.join(["geosoil", *sys.argv[1:]]),
        )
    if spectra is not None:
        reading = {name: common[name] for name in ("masks", "land_use", "wavelengths", "scale", "crs")}
        with progress_bar(quiet) as progress:
            generate(models[0], scene, spectra, **reading, overwrite=overwrite, progress=progress)
    masked = made.record.get("masked")
    left = [] if masked is None else [f"bare soil: {masked['left']:.1%} of the cells with data; masked.tif tells why"]
    others = {"spectra": spectra, "project": made.project, "report": made.report}
    lines = [*(str(path) for path in made.maps), *(f"{name}: {path}" for name, path in others.items() if path), *left]
    document = {
        "folder": str(made.folder),
        "maps": [
            {"path": str(path), "mean": one.mean if one.valid else None, "valid_cells": one.valid}
            for path, one in zip(made.maps, made.statistics, strict=True)
        ],
        **{name: str(path) if path else None for name, path in others.items()},
        "record": made.record,
    }
    emit(document, "\n".join(lines), as_json)
