"""`geosoil transfer`."""

from __future__ import annotations

from pathlib import Path

import click

from .options import as_json, log_options, run_training, seed, start_logging, workers


@click.command("transfer")
@click.argument("study", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Model file to write (.gsm).")
@click.option("--property", "codes", multiple=True, help="Property to predict; may be given again.")
@click.option(
    "--kind",
    type=click.Choice(["mixture", "local", "library", "spiked", "instances", "neighbours", "tuned", "instances-tuned"]),
    help="How the library helps.",
)
@click.option("--head", type=click.Choice(["plsr", "svr", "rf", "dnn", "resnet", "cnn"]), help="Kind of regression.")
@click.option("--library", type=click.Path(path_type=Path), help="Folder or file of the library.")
@click.option("--report", type=click.Path(path_type=Path), help="HTML report to write.")
@click.option("--predictions", type=click.Path(path_type=Path), help="GeoPackage of held-out values to write.")
@click.option("--overwrite", is_flag=True, help="Replace the files that are there.")
@click.option("--dry-run", is_flag=True, help="Print the settings and stop.")
@seed
@workers
@as_json
@log_options
def command(
    study: Path,
    model: Path | None,
    output: Path | None,
    codes: tuple[str, ...],
    kind: str | None,
    head: str | None,
    library: Path | None,
    report: Path | None,
    predictions: Path | None,
    overwrite: bool,
    dry_run: bool,
    seed: int | None,
    num_workers: int | None,
    as_json: bool,
    quiet: bool,
    verbose: int,
    log_file: Path | None,
) -> None:
    """Train a model of few samples with the help of the spectral library of STUDY, and write it to MODEL.

    \b
    Example:
      geosoil transfer study.toml -o pb.gsm --report pb.html
      geosoil predict pb.gsm spectra.csv pb.csv
      geosoil map pb.gsm cube.tif maps/
    """
    import os

    from geosoil.config import load_study
    from geosoil.jobs.invert import summary
    from geosoil.jobs.transfer import transfer

    start_logging(verbose, quiet, log_file)
    settings = load_study(
        study,
        seed=seed,
        invert__properties=list(codes) or None,
        transfer__kind=kind,
        transfer__head=head,
        library__path=None if library is None else str(library.absolute()),
    )
    outputs = {
        "overwrite": overwrite,
        "report": report,
        "predictions": predictions,
        "num_workers": num_workers or os.cpu_count() or 1,
    }
    run_training(transfer, summary, settings, output or model, outputs, dry_run=dry_run, as_json=as_json, quiet=quiet)
