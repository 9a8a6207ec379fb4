"""Which files on the disks of this machine a run reads: these are never replaced by what it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from os import PathLike as OsPathLike
from os import fspath
from pathlib import Path

import rasterio

from geosoil.errors import GeosoilError

from .addresses import is_remote, suffix
from .cube import wavelengths_beside
from .gdal import open_dataset
from .products import addresses_of

__all__ = ["files_behind", "read_files"]


def read_files(*files: object, scenes: Iterable[object] = ()) -> tuple[Path, ...]:
    """The files behind what a run was given, of which nothing is read here but the sources of a VRT.

    Parameters
    ----------
    *files : object
        Paths that are read as they are, such as tables and models, or lists of them.
    scenes : iterable of object
        What `open_scene` takes, or what it returned. Of folders and patterns those files are listed that it would read.

    Returns
    -------
    tuple of Path
        Files; and folders that are read as a whole, such as a Zarr store or a sensor's product. Objects in memory,
        addresses on servers, and what is not there give none.

    >>> read_files(None, "samples.csv", scenes=["https://host/dem.tif", None])
    (PosixPath('samples.csv'),)
    """
    found = [Path(fspath(one)).expanduser() for one in _each(files) if isinstance(one, (str, OsPathLike))]
    return tuple(dict.fromkeys([*found, *files_behind(scenes, _of_scene)]))


def files_behind(given: Iterable[object], files_of: Callable[[str], Iterable[Path]]) -> tuple[Path, ...]:
    """The files behind things that are opened in one way, or are opened already.

    Parameters
    ----------
    given : iterable of object
        Paths, lists of them, or what was opened from paths and names them in ``attrs["sources"]``.
    files_of : callable
        The files that are read of a path, such as `io.spectra.spectra_files`.
    """
    return tuple(dict.fromkeys(path for one in _each(given) for path in _behind(one, files_of)))


def _each(given: object) -> Iterator[object]:
    """Things one by one, out of lists in lists."""
    if isinstance(given, (list, tuple)):
        for one in given:
            yield from _each(one)
    elif given is not None:
        yield given


def _behind(given: object, files_of: Callable[[str], Iterable[Path]]) -> list[Path]:
    if isinstance(given, (str, OsPathLike)):
        if not fspath(given).strip():  # the folder at hand it is not
            return []
        # What is wrong with a path is said when it is opened.
        with suppress(GeosoilError, OSError, ValueError):
            return list(files_of(fspath(given)))
        return []
    attrs = getattr(given, "attrs", None)
    sources = attrs.get("sources", ()) if isinstance(attrs, dict) else ()
    return [Path(str(one)) for one in sources if not is_remote(str(one))]


def _of_scene(source: str) -> list[Path]:
    local = [one for one in addresses_of(source) if not is_remote(one)]
    tables = [table for one in local if (table := wavelengths_beside(one)) is not None]
    return [*(Path(one) for one in (*local, *_under(local))), *tables]


def _under(addresses: Iterable[str]) -> list[str]:
    """Local files that VRTs show, and those that VRTs among these show."""
    seen: dict[str, None] = {}
    waiting = [one for one in addresses if suffix(one) == ".vrt"]
    while waiting:
        with suppress(rasterio.errors.RasterioError, OSError, ValueError), open_dataset(waiting.pop()) as dataset:
            new = [one for one in dataset.files if one not in seen and not is_remote(one)]
            seen.update(dict.fromkeys(new))
            waiting += [one for one in new if suffix(one) == ".vrt"]
    return list(seen)
