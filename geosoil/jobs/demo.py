"""`geosoil demo`: real samples and covariates to six depth maps, a QGIS project and a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geosoil
from geosoil.config import load_study
from geosoil.errors import InputError, OutputError
from geosoil.io.atomic import output_error
from geosoil.jobs.map import MapResult
from geosoil.jobs.map import map as map_scene
from geosoil.jobs.train import train
from geosoil.models.bundle import Bundle
from geosoil.types import PathLike, Progress, quiet

__all__ = ["Demo", "demo", "demo_data"]


@dataclass(frozen=True)
class Demo:
    """What the demo left.

    Attributes
    ----------
    model : Path
        The trained model.
    report : Path
        The training report.
    bundle : Bundle
        The model in memory.
    maps : MapResult
        Maps, project and map report.
    """

    model: Path
    report: Path
    bundle: Bundle
    maps: MapResult


def demo_data() -> Path:
    """The folder of the demo's data in a checkout; raises InputError where there is none.

    The data carry their own licence, so they are not part of the installed package.
    """
    folder = Path(geosoil.__file__).resolve().parent.parent / "examples" / "edgeroi"
    if not (folder / "study.toml").exists():
        raise InputError(
            "the demo's data are not here",
            code="GS-DEMO-DATA",
            details=["they come with the source of geosoil, not with the installed package"],
            hint="run the demo in a checkout, or name the folder: geosoil demo OUT --data examples/edgeroi",
        )
    return folder


def demo(
    out: PathLike,
    *,
    data: PathLike | None = None,
    overwrite: bool = False,
    num_workers: int = 1,
    progress: Progress = quiet,
) -> Demo:
    """Train on the Edgeroi profiles and map soil organic carbon at six depths.

    Parameters
    ----------
    out : path
        Folder for the model, the maps, the QGIS project and the reports.
    data : path, optional
        Folder with ``study.toml`` and what it names; the checkout's ``examples/edgeroi`` by default.
    overwrite : bool
        Replace what an earlier demo left.
    num_workers : int
        Processes for the folds, then threads for the tiles. By default no process is started: a script that asks for
        more needs ``if __name__ == "__main__":`` round its calls, or each process would run it again.
    progress : callable
        ``progress(done, total, message)``.
    """
    folder = Path(data) if data is not None else demo_data()
    study = load_study(folder / "study.toml")
    out = Path(out)
    if (out / "maps.qgz").exists() and not overwrite:
        raise OutputError(
            f"{out} holds maps already", code="GS-OUTPUT-EXISTS", hint="choose another folder, or add --overwrite"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(out, error) from error
    model, report, points = (out / name for name in (f"{study.property}.gsm", "training.html", "predictions.gpkg"))
    bundle = train(
        study,
        model,
        report=report,
        predictions=points,
        overwrite=overwrite,
        num_workers=num_workers,
        progress=progress,
    )
    maps = map_scene(
        model,
        str(study.scene.path),
        out,
        samples=points,
        overwrite=overwrite,
        num_workers=num_workers,
        progress=progress,
        command=f"geosoil demo {out}",
    )
    return Demo(model, report, bundle, maps)
