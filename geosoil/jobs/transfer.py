"""`geosoil transfer`: few samples and a spectral library in, a model of spectra out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import geopandas as gpd

from geosoil.config import Study, load_study
from geosoil.errors import UsageError
from geosoil.io.library import open_library
from geosoil.jobs.inversion import SpectralRecipe, no_laboratory, recipe_of_spectra
from geosoil.jobs.invert import train_spectra
from geosoil.jobs.lending import library_on, range_of, teaches_same
from geosoil.jobs.pairing import build_pairs
from geosoil.jobs.pairs import PairSet
from geosoil.jobs.reading import study_files
from geosoil.jobs.train import check_outputs
from geosoil.models.bundle import Bundle
from geosoil.models.conv_head import CnnSettings
from geosoil.models.fusion_settings import MOVES_BOTH
from geosoil.models.heads import HeadSettings
from geosoil.models.library_heads import SAME, TUNED, TransferSettings
from geosoil.models.net_head import NETS
from geosoil.models.spiked import SpikedSettings
from geosoil.models.tuning import TuneSettings
from geosoil.prep.rs_local import RsLocal
from geosoil.types import PathLike, Progress, quiet

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["build_transfer", "recipe_of_transfer", "transfer"]

#: Most epochs of a network of spectra; it stops where a part of its samples tells it to (He et al. 2025).
_NET_EPOCHS = 2000
#: Most components of PLSR where the library teaches another property (He et al. 2025).
_MOST_COMPONENTS = 50


def transfer(
    study: Study | PathLike,
    output: PathLike | None = None,
    *,
    samples: gpd.GeoDataFrame | None = None,
    scene: xr.DataArray | None = None,
    laboratory: xr.DataArray | None = None,
    satellite: xr.DataArray | None = None,
    library: xr.DataArray | None = None,
    report: PathLike | None = None,
    predictions: PathLike | None = None,
    overwrite: bool = False,
    num_workers: int = 1,
    progress: Progress = quiet,
) -> Bundle:
    """Train a model of few samples with the help of a spectral library.

    The library is brought to the samples' bands, without what repeats a sample. Where it holds the property that is
    wanted, its samples help (Shen et al. 2022); where it holds another one, a network learns that and is tuned (He et
    al. 2025). Scores come from cross-validation by sample: all choices saw the training samples and the library alone.

    Parameters
    ----------
    study : Study or path
        What to train, on what; its ``[library]`` says what helps.
    output : path, optional
        Model file to write.
    samples, scene, laboratory, satellite, library : optional
        Objects to use in place of the study's files: samples as `open_samples` gives them, a cube as `open_scene`,
        spectra as `open_spectra`, a library as `open_library`.
    report, predictions, overwrite, num_workers, progress
        As for `invert`.

    Returns
    -------
    Bundle
        The model; `geosoil.map` maps cubes of its bands with it, `geosoil predict` tables of spectra.

    Raises
    ------
    InputError, UsageError, OutputError
        Where the study, its files or the output cannot be used.
    """
    study = study if isinstance(study, Study) else load_study(study)
    read = study_files(study, samples, scene, laboratory, satellite, library)
    check_outputs(output, report, predictions, overwrite=overwrite, inputs=read)
    data = build_transfer(
        study,
        samples=samples,
        scene=scene,
        laboratory=laboratory,
        satellite=satellite,
        library=library,
        progress=progress,
    )
    return train_spectra(
        study,
        recipe_of_transfer(study, data),
        data,
        output=output,
        report=report,
        predictions=predictions,
        overwrite=overwrite,
        num_workers=num_workers,
        progress=progress,
    )


def build_transfer(
    study: Study,
    *,
    samples: gpd.GeoDataFrame | None = None,
    scene: xr.DataArray | None = None,
    laboratory: xr.DataArray | None = None,
    satellite: xr.DataArray | None = None,
    library: xr.DataArray | None = None,
    progress: Progress = quiet,
) -> PairSet:
    """The samples of a study, and its library on their bands.

    Raises
    ------
    InputError, UsageError
        As `build_pairs` and `library_for`; ``GS-LIBRARY-NONE`` where the study names no library.
    """
    config = study.library
    if config is None or (library is None and config.path is None):
        raise UsageError(
            "the study names no library",
            code="GS-LIBRARY-NONE",
            hint='name one: [library] path = "library/"; or train without: geosoil invert',
        )
    data = build_pairs(
        study, samples=samples, scene=scene, laboratory=laboratory, satellite=satellite, progress=progress
    )
    if library is None:
        library = open_library(
            config.path or (),
            tables=config.tables,
            quantity=config.quantity,
            id=config.id,
            range_nm=range_of(data, study),
            step_nm=config.step_nm,
            organic_matter_factor=config.organic_matter_factor,
            doubtful=config.doubtful,
            cache=config.cache or False,
            progress=progress,
        )
    return library_on(data, study, library)


def recipe_of_transfer(
    study: Study,
    data: PairSet,
    kind: str | None = None,
    head: str | None = None,
    sources: tuple[str, ...] = (),
) -> SpectralRecipe:
    """The recipe of a study with a library, some of its choices changed.

    Raises
    ------
    UsageError
        ``GS-TRANSFER``: the way needs the library to hold the property, and it teaches another one. ``GS-FUSION``: the
        fusion does not go with a library.
    """
    config = study.transfer
    same = teaches_same(data)
    kind = kind or config.kind or ("mixture" if same else "tuned")
    if not same and kind in SAME:
        raise UsageError(
            f"transfer {kind!r} needs samples of the property itself in the library",
            code="GS-TRANSFER",
            details=[
                f"wanted: {', '.join(study.inverted())}; "
                f"the library teaches: {', '.join(() if data.library is None else data.library.codes)}"
            ],
            hint='take kind = "tuned" or "mixture" in [transfer], or a library with the property',
        )
    settings = TransferSettings(
        kind=kind,
        head=_head(study, kind, head or config.head, same=same),
        localise=RsLocal(k=config.instances, b=config.draws, r=config.drop),
        spike=SpikedSettings(most_components=config.components),
        tune=TuneSettings(way="published" if config.published else "joint"),
    )
    base = recipe_of_spectra(study, _read(study, data), "plsr")
    if base.generates and base.fusion.kind in MOVES_BOTH:
        raise UsageError(
            f"fusion {base.fusion.kind!r} moves laboratory spectra too, and those of a library stay as they are",
            code="GS-FUSION",
            hint='take kind = "ridge" in [fusion]',
        )
    steps = config.steps_of(kind)
    return replace(base, head=settings.head, steps=steps, selection=None, transfer=settings, sources=sources)


def _head(study: Study, kind: str, head: str | None, *, same: bool) -> HeadSettings:
    """The regression of a way."""
    config = study.transfer
    given = "components" in config.model_fields_set
    # Peers of property transfer are as in the paper on it.
    components = config.components if same or given else _MOST_COMPONENTS
    head = head or ("resnet" if kind in TUNED else "plsr")
    most = config.epochs or (_NET_EPOCHS if head in NETS else HeadSettings().epochs)
    net = None
    if head == "cnn" and config.net is not None:
        net = CnnSettings.load(config.net)
    search: Literal["near", "bayes"] = "near" if same else "bayes"
    return HeadSettings(
        kind=head, search=search, most_components=components, members=config.members, epochs=most, net=net
    )


def _read(study: Study, data: PairSet) -> str:
    """Which spectra the model reads."""
    if data.laboratory_alone:
        return "laboratory"
    wanted = study.invert.spectra
    if wanted == "mixed":
        raise UsageError(
            "a library has no satellite spectra, so that mixed ones cannot be learned from it",
            code="GS-TRANSFER",
            hint='take spectra = "generated" or "satellite" in [invert]',
        )
    if wanted == "generated" and data.laboratory is None:
        raise no_laboratory()
    return wanted
