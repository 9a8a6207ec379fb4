"""`geosoil predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from .options import as_json, emit, listed, log_options, start_logging


@click.command("predict")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("spectra", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--statistic",
    "statistics",
    multiple=True,
    help="mean, or a quantile such as Q0.05; may be given again, or with commas.",
)
@click.option("--quantity", type=click.Choice(["reflectance", "percent", "absorbance"]), help="What a table holds.")
@click.option("--id", "id_column", help="Column with the names of the samples.")
@click.option("--splice", is_flag=True, help="Remove the steps of a field spectrometer at 1000 and 1830 nm.")
@click.option("--overwrite", is_flag=True, help="Replace the file that is there.")
@as_json
@log_options
def command(
    model: Path,
    spectra: Path,
    out: Path,
    statistics: tuple[str, ...],
    quantity: Literal["reflectance", "percent", "absorbance"] | None,
    id_column: str | None,
    splice: bool,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
    log_file: Path | None,
) -> None:
    """Predict the properties of MODEL for a table or folder of SPECTRA; OUT is a .csv or .parquet.

    By default the mean, and the 5 % and 95 % quantiles from the residuals of the model's cross-validation.

    \b
    Example:
      geosoil predict pb.gsm spectra.csv pb.csv
    """
    from geosoil.jobs.predict import predict_spectra, summary

    start_logging(verbose, quiet, log_file)
    found = predict_spectra(
        model,
        spectra,
        out,
        statistics=tuple(one for text in statistics for one in listed(text)) or ("mean", "Q0.05", "Q0.95"),
        quantity=quantity,
        id=id_column,
        splice=splice,
        overwrite=overwrite,
    )
    emit({"predictions": found.to_dict("records"), "file": str(out)}, summary(found, out), as_json)
