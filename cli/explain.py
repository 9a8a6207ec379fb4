"""`geosoil explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import as_json, emit, log_options, progress_bar, seed, start_logging, workers


def _numbers(kind: type[int] | type[float]) -> Any:
    """A callback that reads four numbers with commas between."""

    def read(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[Any, ...] | None:
        if text is None:
            return None
        try:
            found = tuple(kind(one) for one in text.replace(",", " ").split())
        except ValueError:
            found = ()
        if len(found) != 4:
            raise click.BadParameter(f"{text!r} is not four numbers, {param.metavar}", ctx, param)
        return found

    return read


@click.command("explain")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data")
@click.argument("out", type=click.Path(path_type=Path), required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder to write; as OUT.")
@click.option("--scene", help="Covariates, or a cube, that the samples of DATA lie on.")
@click.option("--background", help="What the model is compared with; default: up to 1000 of DATA.")
@click.option("--against", type=click.Path(path_type=Path), help="Another model of spectra: shared, lost, new bands.")
@click.option("--property", "codes", multiple=True, help="Property to explain; may be given again. Default: all.")
@click.option("--window", metavar="COLUMN,ROW,WIDTH,HEIGHT", callback=_numbers(int), help="Part of a scene, cells.")
@click.option("--region", metavar="WEST,SOUTH,EAST,NORTH", callback=_numbers(float), help="Part of a scene, its CRS.")
@click.option("--draws", type=click.IntRange(1), help="Gradients a sample. Default: 200; for maps 50.")
@click.option(
    "--step",
    type=click.FloatRange(min=0, min_open=True),
    default=100.0,
    show_default=True,
    help="Width of a map's bands, nm.",
)
@click.option("--quantity", type=click.Choice(["reflectance", "percent", "absorbance"]), help="What spectra hold.")
@click.option("--id", "id_column", help="Column with the ids of spectra.")
@click.option("--crs", help="CRS of samples, or of a scene, that do not tell it.")
@click.option("--overwrite", is_flag=True, help="Replace earlier results in OUT.")
@seed
@workers
@as_json
@log_options
def command(
    model: Path,
    data: str,
    out: Path | None,
    output: Path | None,
    scene: str | None,
    background: str | None,
    against: Path | None,
    codes: tuple[str, ...],
    window: tuple[int, int, int, int] | None,
    region: tuple[float, float, float, float] | None,
    draws: int | None,
    step: float,
    quantity: str | None,
    id_column: str | None,
    crs: str | None,
    overwrite: bool,
    seed: int | None,
    num_workers: int | None,
    as_json: bool,
    quiet: bool,
    verbose: int,
    log_file: Path | None,
) -> None:
    """Say why MODEL predicts what it predicts for DATA: spectra, samples on a scene, or a part of a scene.

    Tables, plots and a report of the contributions (SHAP values) of bands or covariates go to OUT, and of a part of a
    scene a map of them.

    \b
    Example:
      geosoil explain pb.gsm spectra.csv why/
      geosoil explain pb.gsm spectra.csv why/ --against ph.gsm
      geosoil explain soc.gsm samples.csv why/ --scene covariates.tif
      geosoil explain soc.gsm covariates.tif why/ --window 100,200,64,64
    """
    from geosoil.jobs.attribution import explain
    from geosoil.jobs.attribution_told import summary

    start_logging(verbose, quiet, log_file)
    target = output or out
    if target is None:
        raise click.UsageError("name the folder to write: geosoil explain MODEL DATA OUT")
    with progress_bar(quiet) as progress:
        found = explain(
            model,
            data,
            target,
            scene=scene,
            background=background,
            against=against,
            properties=list(codes) or None,
            window=window,
            region=region,
            draws=draws,
            seed=seed or 0,
            step_nm=step,
            quantity=quantity,
            id=id_column,
            crs=crs,
            num_workers=num_workers,
            overwrite=overwrite,
            progress=progress,
        )
    document = {"folder": str(target), "files": [str(path) for path in found.files], **found.record}
    emit(document, f"{summary(found)}\nreport: {target / 'report.html'}", as_json)
