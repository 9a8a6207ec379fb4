"""Which files a study reads."""

from __future__ import annotations

from pathlib import Path

from geosoil.config import Study
from geosoil.io.librarytables import library_files
from geosoil.io.reads import files_behind, read_files
from geosoil.io.spectra import spectra_files

__all__ = ["study_files"]


def study_files(study: Study, *objects: object) -> tuple[Path, ...]:
    """The files that a study names, of folders and patterns those that are read; none of them may be replaced.

    Parameters
    ----------
    study : Study
    *objects : object
        What is used in place of files of the study; that which was opened from files names these.

    Returns
    -------
    tuple of Path
        As `io.reads.read_files`.
    """
    spectra, library = study.spectra, study.library
    zones = study.compare.zones
    plain = read_files(
        study.samples.path,
        study.samples.sites,
        study.scene.wavelengths,
        None if library is None else library.tables,
        study.transfer.net,
        # Else it is a column of the samples.
        zones if zones is not None and Path(zones).suffix else None,
        scenes=(
            study.scene.path,
            study.scene.align,
            study.masks.land_use,
            None if spectra is None else spectra.like,
            *objects,
        ),
    )
    tables = () if spectra is None else files_behind((spectra.laboratory, spectra.satellite), spectra_files)
    return (*plain, *tables, *(() if library is None else files_behind((library.path,), library_files)))
