"""`geosoil train`."""

from __future__ import annotations

from pathlib import Path

import click

from .options import as_json, device, log_options, run_training, seed, start_logging, workers


@click.command("train")
@click.argument("study", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Model file to write (.gsm).")
@click.option("--property", "code", help="Property to train: soc, pb, as, cu, clay, or one of the study's.")
@click.option("--model", "kind", type=click.Choice(["transfer", "cnn", "mtcnn", "rf"]), help="Kind of model.")
@click.option("--patch", type=click.IntRange(1), help="Width of the patch in cells, odd.")
@click.option("--unit", help="Unit of the samples' values.")
@click.option("--report", type=click.Path(path_type=Path), help="HTML report to write.")
@click.option("--predictions", type=click.Path(path_type=Path), help="GeoPackage of held-out values to write.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted training.")
@click.option("--overwrite", is_flag=True, help="Replace the files that are there.")
@click.option("--dry-run", is_flag=True, help="Print the settings and stop.")
@device
@seed
@workers
@as_json
@log_options
def command(
    study: Path,
    model: Path | None,
    output: Path | None,
    code: str | None,
    kind: str | None,
    patch: int | None,
    unit: str | None,
    report: Path | None,
    predictions: Path | None,
    resume: bool,
    overwrite: bool,
    dry_run: bool,
    device: str | None,
    seed: int | None,
    num_workers: int | None,
    as_json: bool,
    quiet: bool,
    verbose: int,
    log_file: Path | None,
) -> None:
    """Train the model of the study file STUDY and write it to MODEL.

    \b
    Example:
      geosoil train study.toml soc.gsm
      geosoil train study.toml --property pb --model rf -o pb.gsm
    """
    import os

    from geosoil.config import load_study
    from geosoil.jobs.train import summary, train

    start_logging(verbose, quiet, log_file)
    flags: dict[str, object] = {
        "property": code,
        "seed": seed,
        "model__kind": kind,
        "model__patch": patch,
        "model__device": device,
    }
    if unit is not None:
        flags[f"properties__{code or load_study(study).property}__unit"] = unit
    settings = load_study(study, **flags)
    outputs = {
        "overwrite": overwrite,
        "report": report,
        "predictions": predictions,
        "num_workers": num_workers or os.cpu_count() or 1,
        "resume": resume,
    }
    run_training(train, summary, settings, output or model, outputs, dry_run=dry_run, as_json=as_json, quiet=quiet)
