"""`geosoil search`."""

from __future__ import annotations

from pathlib import Path

import click

from .options import as_json, device, emit, log_options, progress_bar, seed, start_logging, workers


@click.command("search")
@click.argument("study", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--trials", type=click.IntRange(1), default=100, show_default=True, help="Networks to train.")
@click.option("--folds", type=click.IntRange(2), default=10, show_default=True, help="Folds of each.")
@click.option("--property", "code", help="Property to search for; default: the study's first.")
@device
@seed
@workers
@as_json
@log_options
def command(
    study: Path,
    out: Path,
    trials: int,
    folds: int,
    code: str | None,
    device: str | None,
    seed: int | None,
    num_workers: int | None,
    as_json: bool,
    quiet: bool,
    verbose: int,
    log_file: Path | None,
) -> None:
    """Search the 1D-CNN that suits the samples and the library of STUDY; OUT/best.json is what a study takes.

    A search that was stopped goes on when the same command is given again.

    \b
    Example:
      geosoil search study.toml network/ --trials 100
      geosoil transfer study.toml -o soc.gsm       # with head = "cnn", net = "network/best.json" under [transfer]
    """
    import os

    from geosoil.config import load_study
    from geosoil.jobs.search import SearchSettings
    from geosoil.jobs.search_study import search_study, summary

    start_logging(verbose, quiet, log_file)
    settings = load_study(study, seed=seed, property=code, invert__properties=None if code is None else [code])
    with progress_bar(quiet) as progress:
        found = search_study(
            settings,
            out,
            settings=SearchSettings(trials=trials, folds=folds),
            num_workers=num_workers or os.cpu_count() or 1,
            device=device or "auto",
            progress=progress,
        )
    emit({"folder": str(out), **found.to_meta()}, summary(found, out), as_json)
