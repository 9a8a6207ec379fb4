"""`geosoil terrain`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from .options import as_json, emit, listed, log_options, pairs, progress_bar, start_logging


@click.command("terrain")
@click.argument("dem")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--attributes", metavar="NAMES", help="Layers to write, with commas; default: all but a few.")
@click.option(
    "--slope-method",
    type=click.Choice(["zevenbergen-thorne", "horn"]),
    default="zevenbergen-thorne",
    show_default=True,
    help="How slope and aspect are taken from the neighbours.",
)
@click.option("--min-slope", type=float, default=0.01, show_default=True, help="Least slope over filled pits, degrees.")
@click.option("--exponent", type=float, default=1.1, show_default=True, help="Of slope, in the shares of flow.")
@click.option("--stream-area", type=float, default=1.0, show_default=True, help="Least catchment of a stream, km2.")
@click.option(
    "--hole-cells", type=click.IntRange(0), default=100, show_default=True, help="Largest hole that water crosses."
)
@click.option("--z-factor", type=float, help="Metres in the unit of the heights: 0.3048 for feet.")
@click.option("-b", "--bidx", type=click.IntRange(1), help="Band with the heights, in a file with several.")
@click.option("--crs", help="CRS of an elevation model that has none.")
@click.option(
    "--maps", multiple=True, metavar="MAPS", help="Folder of maps, or a map, to compare with; may be given again."
)
@click.option("--max-memory", default="4GB", show_default=True, help="Bound of the memory; a number alone is bytes.")
@click.option("--no-report", is_flag=True, help="Write no report.html.")
@click.option("--overwrite", is_flag=True, help="Replace earlier results in OUT.")
@click.option("--nodata", type=float, default=float("nan"), show_default=True, help="Value of cells without one.")
@click.option("--co", multiple=True, metavar="NAME=VALUE", callback=pairs, help="Creation option of GDAL's COG driver.")
@as_json
@log_options
def command(
    dem: str,
    out: Path,
    attributes: str | None,
    slope_method: Any,
    min_slope: float,
    exponent: float,
    stream_area: float,
    hole_cells: int,
    z_factor: float | None,
    bidx: int | None,
    crs: str | None,
    maps: tuple[str, ...],
    max_memory: str,
    no_report: bool,
    overwrite: bool,
    nodata: float,
    co: dict[str, str],
    as_json: bool,
    quiet: bool,
    verbose: int,
    log_file: Path | None,
) -> None:
    """Make covariates, streams and a report from DEM, heights in metres on a grid in metres; all goes to OUT.

    \b
    Example:
      geosoil terrain dem.tif terrain/
      geosoil terrain dem.tif terrain/ --attributes slope,twi,ls_moore --stream-area 0.5
      geosoil terrain dem.tif terrain/ --maps maps/
    """
    from geosoil.jobs.terrain import terrain

    start_logging(verbose, quiet, log_file)
    with progress_bar(quiet) as progress:
        made = terrain(
            dem,
            out,
            attributes=None if attributes is None else listed(attributes),
            slope_method=slope_method,
            min_slope=min_slope,
            exponent=exponent,
            stream_area_km2=stream_area,
            hole_cells=hole_cells,
            z_factor=z_factor,
            band=bidx,
            crs=crs,
            maps=(maps[0] if len(maps) == 1 else maps) or None,
            max_memory=max_memory,
            nodata=nodata,
            co=co,
            report=not no_report,
            overwrite=overwrite,
            progress=progress,
            command=shlex.join(["geosoil", *sys.argv[1:]]),
        )
    others = {"streams": made.streams} | ({"report": made.report} if made.report else {})
    if made.relations is not None:
        others |= {"relations": made.relations.table, "relations_report": made.relations.report}
    lines = [*(str(path) for path in made.layers.values()), *(f"{name}: {path}" for name, path in others.items())]
    document: dict[str, Any] = {
        "folder": str(made.folder),
        "layers": {name: str(path) for name, path in made.layers.items()},
        **{name: str(path) for name, path in others.items()},
        "record": made.record,
    }
    if made.relations is not None:
        document["correlations"] = made.relations.frame.to_dict(orient="records")
    emit(document, "\n".join(lines), as_json)
