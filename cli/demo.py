"""`geosoil demo`."""

from __future__ import annotations

from pathlib import Path

import click

from .options import as_json, emit, log_options, progress_bar, start_logging, workers


@click.command("demo")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Folder with study.toml; default: examples/edgeroi.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier demo in OUT.")
@workers
@as_json
@log_options
def command(
    out: Path,
    data: Path | None,
    overwrite: bool,
    num_workers: int | None,
    as_json: bool,
    quiet: bool,
    verbose: int,
    log_file: Path | None,
) -> None:
    """Train on real profiles and map soil organic carbon at six depths, into OUT.

    \b
    Example:
      geosoil demo out/      then open out/maps.qgz in QGIS and out/report.html in a browser
    """
    import os

    from geosoil.jobs.demo import demo
    from geosoil.jobs.train import summary

    start_logging(verbose, quiet, log_file)
    with progress_bar(quiet) as progress:
        made = demo(
            out, data=data, overwrite=overwrite, num_workers=num_workers or os.cpu_count() or 1, progress=progress
        )
    lines = [
        summary(made.bundle, made.model),
        "",
        *(f"map: {path}" for path in made.maps.maps),
        f"QGIS project: {made.maps.project}",
        f"reports: {made.maps.report}, {made.report}",
    ]
    emit(
        {
            "model": str(made.model),
            "maps": [str(path) for path in made.maps.maps],
            "project": str(made.maps.project),
            "reports": [str(made.maps.report), str(made.report)],
        },
        "\n".join(lines),
        as_json,
    )
