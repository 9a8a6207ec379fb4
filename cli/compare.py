"""`geosoil compare`."""

from __future__ import annotations

from pathlib import Path

import click

from .options import as_json, device, emit, log_options, progress_bar, seed, start_logging, workers


@click.command("compare")
@click.argument("study", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--repeats", type=click.IntRange(1), help="Repeats of each cross-validation.")
@click.option("--folds", type=click.IntRange(2), help="Folds of each cross-validation.")
@click.option("--property", "code", help="Property to compare on.")
@click.option("--resume", is_flag=True, help="Keep the cross-validations that an interrupted run left.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier comparison in OUT.")
@device
@seed
@workers
@as_json
@log_options
def command(
    study: Path,
    out: Path,
    repeats: int | None,
    folds: int | None,
    code: str | None,
    resume: bool,
    overwrite: bool,
    device: str | None,
    seed: int | None,
    num_workers: int | None,
    as_json: bool,
    quiet: bool,
    verbose: int,
    log_file: Path | None,
) -> None:
    """Run all models of the study file STUDY on the same folds; tables, plots and a report go to OUT.

    \b
    Example:
      geosoil compare study.toml comparison/ --repeats 5
    """
    import os

    from geosoil.config import load_study
    from geosoil.jobs.compare import compare, summary

    start_logging(verbose, quiet, log_file)
    settings = load_study(
        study,
        property=code,
        invert__properties=None if code is None else [code],
        seed=seed,
        compare__repeats=repeats,
        compare__folds=folds,
        model__device=device,
    )
    with progress_bar(quiet) as progress:
        found = compare(
            settings,
            out,
            resume=resume,
            overwrite=overwrite,
            num_workers=num_workers or os.cpu_count() or 1,
            progress=progress,
        )
    emit({"folder": str(out), "scores": found.scores.to_dict("records")}, summary(found), as_json)
