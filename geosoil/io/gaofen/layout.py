"""Where the files of a product lie: images, calibration files and XML, beside each other or one folder up."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from geosoil.errors import InputError, listing
from geosoil.io.addresses import short_name

from . import metadata, tables
from .names import Side, Stem, image_name, looks_like, side_name

__all__ = ["Layout", "Sides", "is_product", "locate", "read_start"]

#: Calibration files by ``VN_gains``, ``VN_response``, ``SW_gains``, ``SW_response``: what messages call them, content.
Sides = dict[str, tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one product.

    Attributes
    ----------
    stem : Stem
        What its name says.
    folder : Path
        Where the images are.
    images : tuple of (Path, str or None)
        With the detector that the name of each gives.
    """

    stem: Stem
    folder: Path
    images: tuple[tuple[Path, str | None], ...]

    def sides(self) -> Sides:
        """The calibration files of the product's family."""
        found: Sides = {}
        for folder in (self.folder, self.folder.parent):
            here = [(path, side) for path in _names(folder) if (side := side_name(path.name))]
            ours = [(path, side) for path, side in here if side.family == self.stem.family]
            for what, path in _by_what(ours).items():
                if what not in found:
                    found[what] = (str(path), read_start(path, tables.MOST_BYTES))
        return found

    def xml(self) -> tuple[str, bytes] | None:
        """The XML file of the product; None where there is none."""
        wanted = [f"{self.stem.text}{end}.xml".lower() for end in ("", "_VN", "_SW")]
        for folder in (self.folder, self.folder.parent):
            here = {path.name.lower(): path for path in _names(folder)}
            for name in wanted:
                if name in here and here[name].is_file():
                    return str(here[name]), read_start(here[name], metadata.MOST_BYTES)
        return None


def read_start(path: Path, most: int) -> bytes:
    """A file's content, up to one byte beyond the most that is allowed."""
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except OSError as error:
        raise InputError(
            f"{short_name(str(path))} cannot be read",
            code="GS-FILE-UNREADABLE",
            details=[f"file: {path}", error.strerror or str(error)],
            hint="check the file and its rights",
        ) from error


def is_product(path: Path) -> bool:
    """Whether a path is the folder of a product, or one of its labelled images."""
    if path.is_dir():
        return any(_is_folder_of_images(folder) for folder in _candidates(path))
    found = image_name(path.name)
    return found is not None and found[1] is not None and path.is_file()


def locate(path: Path) -> Layout:
    """The files of the product that a folder holds or that an image belongs to.

    Raises
    ------
    InputError
        ``GS-PRODUCT-MISSING`` where there is none, ``GS-PRODUCT-SEVERAL`` where a folder holds more than one.
    """
    if path.is_dir():
        folder = next((one for one in _candidates(path) if _is_folder_of_images(one)), path)
        stems = {stem.text.lower(): stem for stem, _, _ in _images(folder)}
    else:
        folder, named = path.parent, image_name(path.name) if path.is_file() else None
        stems = {named[0].text.lower(): named[0]} if named else {}
    if not stems:
        raise _none_there(path)
    if len(stems) > 1:
        raise InputError(
            f"{short_name(str(path))} holds {len(stems)} products",
            code="GS-PRODUCT-SEVERAL",
            details=[f"product: {stem.text}" for stem in list(stems.values())[:10]],
            hint="name one of the images, of an archive after unpacking it",
        )
    key, stem = next(iter(stems.items()))
    ours = [(path, label) for found, path, label in _images(folder) if found.text.lower() == key]
    # A file without a label is one of the detectors only where none is labelled; else it is somebody's result.
    labelled = [one for one in ours if one[1] is not None]
    return Layout(stem, folder, tuple(labelled or ours))


def _none_there(path: Path) -> InputError:
    names = [one.name for one in _names(path)] if path.is_dir() else []
    return InputError(
        f"{short_name(str(path))} is no AHSI product",
        code="GS-PRODUCT-MISSING",
        details=[f"path: {path}", *([f"it holds: {listing(names)}"] if names else [])],
        hint="name the product's folder, or an image such as\n"
        "GF5B_AHSI_E113.2_N36.3_20221208_006658_L10000252104_VN.tif",
    )


def _names(folder: Path) -> list[Path]:
    # One folder up may be closed to us.
    with suppress(OSError):
        return sorted(folder.iterdir())
    return []


def _candidates(folder: Path) -> list[Path]:
    """The folder, and those in it that are named like a product."""
    return [folder, *(path for path in _names(folder) if looks_like(path.name) and path.is_dir())]


def _images(folder: Path) -> list[tuple[Stem, Path, str | None]]:
    found = ((path, image_name(path.name)) for path in _names(folder))
    return [(named[0], path, named[1]) for path, named in found if named and path.is_file()]


def _is_folder_of_images(folder: Path) -> bool:
    labels = [label for _, _, label in _images(folder)]
    return any(labels) or (bool(labels) and any(side_name(path.name) for path in _names(folder)))


def _by_what(files: Sequence[tuple[Path, Side]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path, side in files:
        what = f"{side.detector}_{side.what}"
        if what in found:
            raise InputError(
                f"two files give the {side.what} of {side.detector}",
                code="GS-CALIBRATION-SEVERAL",
                details=[f"file: {found[what]}", f"file: {path}"],
                hint="move away the one that does not belong to this product",
            )
        found[what] = path
    return found
