"""`geosoil calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import as_json, emit, log_options, pairs, progress_bar, start_logging


@click.command("calibrate")
@click.argument("product", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path), required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Cube to write, instead of OUT.")
@click.option(
    "--to",
    type=click.Choice(["reflectance-toa", "radiance"]),
    help="What to make; default: reflectance at the top of the atmosphere, radiance for FLAASH.",
)
@click.option("--destripe", is_flag=True, help="Take off the striping of detector elements.")
@click.option("--splice", is_flag=True, help="Scale VNIR to SWIR by their ratio where they overlap, pixel by pixel.")
@click.option("--dem", type=click.Path(path_type=Path), help="Heights in m; without, the ground is taken as flat.")
@click.option(
    "--ortho/--no-ortho", default=True, show_default=True, help="Put it on a map, or stay in sensor geometry."
)
@click.option("--crs", help="CRS of the map; default: its UTM zone.")
@click.option("-r", "--res", "resolution", type=float, help="Cell, in units of the CRS; default: 30 m.")
@click.option(
    "--resampling",
    type=click.Choice(["bilinear", "nearest", "cubic"]),
    default="bilinear",
    show_default=True,
    help="How values are taken from between pixels.",
)
@click.option("--drop-bad", is_flag=True, help="Leave bands out that are not good.")
@click.option(
    "--export", type=click.Choice(["envi", "flaash"]), help="Write ENVI; for FLAASH in the unit that it takes."
)
@click.option(
    "-t",
    "--dtype",
    type=click.Choice(["float32", "int16"]),
    default="float32",
    show_default=True,
    help="int16 is reflectance x 10,000, half as large.",
)
@click.option(
    "--compress",
    type=click.Choice(["none", "zstd", "deflate"]),
    default="none",
    show_default=True,
    help="Smaller files, read and written several times slower.",
)
@click.option(
    "--sun-zenith", type=float, help="Angle of the sun from the zenith, degrees, in the place of the product's."
)
@click.option(
    "--nominal-wavelengths",
    is_flag=True,
    help="Where the product's list is missing or cannot be right, take those of the sensor's design.",
)
@click.option("--join", "join_nm", type=float, help="Where VNIR ends and SWIR begins, nm; default: the sensor's.")
@click.option(
    "--table", "tables", multiple=True, metavar="NAME=FILE", callback=pairs, help="Calibration file of your own."
)
@click.option("--work", type=click.Path(path_type=Path), help="Folder to work in; default: beside OUT.")
@click.option("--max-memory", default="2GB", show_default=True, help="Bound of the memory; a number alone is bytes.")
@click.option("--overwrite", is_flag=True, help="Replace the cube that is there.")
@as_json
@log_options
def command(
    product: Path,
    out: Path | None,
    output: Path | None,
    to: Any,
    destripe: bool,
    splice: bool,
    dem: Path | None,
    ortho: bool,
    crs: str | None,
    resolution: float | None,
    resampling: str,
    drop_bad: bool,
    export: Any,
    dtype: str,
    compress: str,
    sun_zenith: float | None,
    nominal_wavelengths: bool,
    join_nm: float | None,
    tables: dict[str, str],
    work: Path | None,
    max_memory: str,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
    log_file: Path | None,
) -> None:
    """Make a cube of PRODUCT, a GF-5 or ZY-1 AHSI product as a folder or as the archive that was delivered.

    \b
    Example:
      geosoil calibrate GF5B_AHSI_E113.2_N36.3_20221208_006658_L10000252104.tar.gz cube.tif --dem dem.tif
      geosoil calibrate PRODUCT/ cube.tif --dem dem.tif --destripe --splice --dtype int16
      geosoil calibrate PRODUCT/ for_flaash.dat --dem dem.tif --destripe --export flaash

    Reflectance at the top of the atmosphere is not that of the ground. For models of surface or laboratory spectra,
    export for FLAASH, 6S or ATCOR, correct there, and open the result as it is.
    """
    from geosoil.jobs.calibrate import calibrate

    start_logging(verbose, quiet, log_file)
    target = output or out
    if target is None:
        raise click.UsageError("name the cube to write: geosoil calibrate PRODUCT OUT.tif")
    with progress_bar(quiet) as progress:
        made = calibrate(
            product,
            target,
            to=to,
            destripe=destripe,
            splice=splice,
            dem=dem,
            ortho=ortho,
            crs=crs,
            resolution=resolution,
            resampling=resampling,
            drop_bad=drop_bad,
            export=export,
            dtype=dtype,
            compress=compress,
            sun_zenith=sun_zenith,
            nominal_wavelengths=nominal_wavelengths,
            join_nm=join_nm,
            tables=tables,
            work=work,
            overwrite=overwrite,
            max_memory=max_memory,
            progress=progress,
        )
    emit(made.to_dict(), made.describe(), as_json)
