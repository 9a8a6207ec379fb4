"""Which files a source names: folders, globs and remote addresses; and how an address is shown."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from os import PathLike as OsPathLike
from pathlib import Path, PurePosixPath

from geosoil.errors import InputError, UsageError, listing
from geosoil.types import PathLike

__all__ = ["expand", "gdal_path", "is_remote", "redact", "short_name", "stem", "suffix"]

#: Files that a folder offers; an ENVI image has no fixed suffix, it is known by its header file.
SUFFIXES = frozenset({".tif", ".tiff", ".geotiff", ".vrt", ".jp2", ".nc", ".nc4", ".zarr"})

_SCHEMES = {"http://": "/vsicurl/http://", "https://": "/vsicurl/https://", "s3://": "/vsis3/", "gs://": "/vsigs/"}
_USER = re.compile(r"(://)[^/@\s]*@")
_QUERY = re.compile(r"((?:https?|s3|gs)://[^\s?'\"]*|/vsi\w+[/?][^\s?'\"]*)\?[^\s'\"]*")


def is_remote(address: str) -> bool:
    """Whether the address is a URL or one of GDAL's virtual file systems.

    >>> is_remote("s3://bucket/dem.tif"), is_remote("data/dem.tif")
    (True, False)
    """
    return "://" in address or address.startswith("/vsi")


def gdal_path(address: str) -> str:
    """The address as GDAL opens it.

    >>> gdal_path("https://host/dem.tif"), gdal_path("s3://bucket/dem.tif")
    ('/vsicurl/https://host/dem.tif', '/vsis3/bucket/dem.tif')
    """
    for scheme, prefix in _SCHEMES.items():
        if address.lower().startswith(scheme):
            return prefix + address[len(scheme) :]
    return address


def redact(text: str) -> str:
    """The text without the users, passwords and queries of the addresses in it, for messages and records.

    >>> redact("https://me:secret@host/dem.tif?signature=abc")
    'https://host/dem.tif'
    """
    return _QUERY.sub(r"\1", _USER.sub(r"\1", text))


def suffix(address: str) -> str:
    """Lower-case suffix of the file name, without what follows a question mark.

    >>> suffix("https://host/DEM.TIF?x=1.zarr")
    '.tif'
    """
    return PurePosixPath(_plain(address)).suffix.lower()


def stem(address: str) -> str:
    """File name without its suffix.

    >>> stem("/vsicurl/https://host/dem.v2.tif?token=1")
    'dem.v2'
    """
    return PurePosixPath(_plain(address)).stem


def short_name(address: str, most: int = 40) -> str:
    """File name, shortened in the middle where it is long, for the first line of a message.

    >>> short_name("covariates/twi.tif")
    'twi.tif'
    """
    name = PurePosixPath(_plain(address)).name or redact(address)
    half = (most - 3) // 2
    return name if len(name) <= most else f"{name[:half]}...{name[-half:]}"


def expand(source: PathLike | Iterable[PathLike]) -> list[str]:
    """The addresses that a source names, in order; folders and globs in natural order.

    Parameters
    ----------
    source : path or sequence of paths
        Files, Zarr stores, folders, globs, URLs or ``/vsi`` paths.

    Raises
    ------
    InputError
        ``GS-FILE-MISSING`` where a path names nothing.
    UsageError
        ``GS-SOURCE`` where something is no path.
    """
    if isinstance(source, (str, OsPathLike)):
        return _expand_one(str(source))
    if not isinstance(source, Iterable) or isinstance(source, (bytes, bytearray)):
        raise _no_path(source)
    found = []
    for one in source:
        if not isinstance(one, (str, OsPathLike)):
            raise _no_path(one)
        found.extend(_expand_one(str(one)))
    if not found:
        raise InputError("no raster was given", code="GS-FILE-MISSING", hint="name a file, a folder or a glob")
    return found


def _no_path(found: object) -> UsageError:
    return UsageError(
        f"a path is needed, not an object of type {type(found).__name__}",
        code="GS-SOURCE",
        hint="name a file, a folder, a glob or an address, or several in a list",
    )


def _plain(address: str) -> str:
    """The address with its query taken off and POSIX separators."""
    bare = redact(address) if is_remote(address) else address
    return bare.replace("\\", "/").rstrip("/")


def _expand_one(text: str) -> list[str]:
    if is_remote(text):
        return [text]
    if not text.strip():
        raise InputError("the path is empty", code="GS-FILE-MISSING", hint="name a file, a folder or a glob")
    path = Path(text).expanduser()
    try:
        if path.is_dir():
            return [str(path)] if _is_zarr(path) else _in_folder(path)
        if path.exists() and not path.is_file():
            raise InputError(
                f"{short_name(text)} is a pipe or a device, and no file",
                code="GS-FILE-MISSING",
                details=[f"path: {path}"],
                hint="name a file, a folder or a glob",
            )
        if path.exists():
            return [str(path)]
    except OSError as error:
        raise InputError(
            f"{short_name(text)} cannot be looked up",
            code="GS-FILE-MISSING",
            details=[error.strerror or str(error)],
            hint="check the path",
        ) from error
    if glob.has_magic(text):
        return _matching(path)
    raise _missing(path)


def _is_zarr(path: Path) -> bool:
    return path.suffix.lower() == ".zarr" or (path / ".zgroup").exists() or (path / "zarr.json").exists()


def _in_folder(folder: Path) -> list[str]:
    found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES or _has_envi_header(path)]
    if found:
        return _sorted(found)
    others = sorted(path.name for path in folder.iterdir())
    raise InputError(
        f"folder {short_name(str(folder))} holds no raster",
        code="GS-FILE-MISSING",
        details=[f"folder: {folder}", f"it holds: {listing(others) or 'nothing'}"],
        hint=f"rasters end in {listing(sorted(SUFFIXES))}, or have an ENVI header (.hdr) beside them",
    )


def _has_envi_header(path: Path) -> bool:
    if not path.is_file() or path.suffix.lower() in {".hdr", ".xml"}:
        return False
    return path.with_suffix(".hdr").exists() or path.with_name(path.name + ".hdr").exists()


def _matching(pattern: Path) -> list[str]:
    found = [Path(name) for name in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207 - absolute patterns
    files = [path for path in found if path.is_file() or _is_zarr(path)]
    if files:
        return _sorted(files)
    raise InputError(
        f"no file matches {short_name(str(pattern), 60)}",
        code="GS-FILE-MISSING",
        details=[f"pattern: {pattern}"],
        hint="check the folder and the pattern",
    )


def _sorted(paths: Sequence[Path]) -> list[str]:
    """In natural order: band_2 before band_10."""

    def key(path: Path) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", str(path).lower())
        return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]

    return [str(path) for path in sorted(paths, key=key)]


def _missing(path: Path) -> InputError:
    folder = path.parent
    names = sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []
    near = get_close_matches(path.name, names, n=3)
    return InputError(
        f"{short_name(str(path))} does not exist",
        code="GS-FILE-MISSING",
        details=[f"path: {path}", *([f"near: {listing(near)}"] if near else [])],
        hint="check the path" if folder.is_dir() else f"there is no folder {folder}",
    )
