"""`geosoil invert`."""

from __future__ import annotations

from pathlib import Path

import click

from .options import as_json, log_options, run_training, seed, start_logging, workers


@click.command("invert")
@click.argument("study", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Model file to write (.gsm).")
@click.option("--property", "codes", multiple=True, help="Property to predict; may be given again.")
@click.option("--spectra", type=click.Choice(["satellite", "generated", "mixed"]), help="What the model reads.")
@click.option("--head", type=click.Choice(["plsr", "svr", "rf", "fd-rf", "dnn"]), help="Kind of regression.")
@click.option(
    "--fusion",
    help="How laboratory-like spectra are made: ridge, glsw, ds, pds, epo, pls, autoencoder, vae, vae-residual, none.",
)
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
    spectra: str | None,
    head: str | None,
    fusion: str | None,
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
    """Train a model of spectra from the cube, samples and laboratory spectra of STUDY, and write it to MODEL.

    One model holds all properties of the study; `geosoil map` maps them in one pass over a cube.

    \b
    Example:
      geosoil invert study.toml -o soil.gsm --report soil.html
      geosoil map soil.gsm cube.tif maps/
    """
    import os

    from geosoil.config import load_study
    from geosoil.jobs.invert import invert, summary

    start_logging(verbose, quiet, log_file)
    settings = load_study(
        study,
        seed=seed,
        invert__properties=list(codes) or None,
        invert__spectra=spectra,
        invert__head=head,
        fusion__kind=fusion,
    )
    outputs = {
        "overwrite": overwrite,
        "report": report,
        "predictions": predictions,
        "num_workers": num_workers or os.cpu_count() or 1,
    }
    run_training(invert, summary, settings, output or model, outputs, dry_run=dry_run, as_json=as_json, quiet=quiet)
