"""Archives as products are delivered (tar, tar.gz): looked into and unpacked, trusting nothing in them.

An archive in an archive is looked into as if its files lay beside it; one in that is passed over.
"""

from __future__ import annotations

import gzip
import io
import shutil
import struct
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, cast

from geosoil.errors import GeosoilError, InputError, OutputError, listing
from geosoil.types import PathLike, Progress, as_path, quiet

from .addresses import short_name
from .atomic import output_error

__all__ = ["SUFFIXES", "Member", "is_archive", "members", "unpack", "unpacked"]

#: Names of archives that are looked into.
SUFFIXES = (".tar.gz", ".tgz", ".tar")
#: Most entries, and most bytes that come out; a product of 330 bands has a dozen and 3 GB.
MOST_MEMBERS = 10_000
MOST_BYTES = 20 * 2**30
#: Most bytes that come out for each that goes in; integer images give 2 to 4.
MOST_RATIO = 100.0
#: Bytes that are kept at each end of a file, and on each side of a TIFF's directory, where headers are enough; lists of
#: 300,000 strips have 5 MB.
HEADER_BYTES = 16 * 2**20

# Up to here a ratio says nothing: images of a few zeros pack very well.
_RATIO_FROM = 16 * 2**20
# Most bytes between the content of two entries: headers, long names, padding.
_MOST_HEADER = 2**20
# Most bytes that are written where headers are enough.
_MOST_HEADERS = 2**30
# Signatures of TIFF and BigTIFF: how the place of the first directory is written, and where.
_DIRECTORY = {b"II*\0": ("<I", 4), b"MM\0*": (">I", 4), b"II+\0": ("<Q", 8), b"MM\0+": (">Q", 8)}
# Disk space that is left alone, bytes.
_RESERVE = 64 * 2**20
_PIECE = 2**20


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in an archive.

    Attributes
    ----------
    path : str
        Where it stands in the archive.
    size : int
        Bytes.
    """

    path: str
    size: int

    @property
    def name(self) -> str:
        """Name without folders."""
        return PurePosixPath(self.path).name


@dataclass(frozen=True, slots=True)
class _Limits:
    members: int
    bytes: int
    ratio: float


def is_archive(address: str) -> bool:
    """Whether the name is that of an archive.

    >>> is_archive("GF5B_AHSI.TAR.GZ"), is_archive("scene.tif")
    (True, False)
    """
    return address.lower().endswith(SUFFIXES)


def members(
    archive: PathLike,
    *,
    most_members: int = MOST_MEMBERS,
    most_bytes: int = MOST_BYTES,
    most_ratio: float = MOST_RATIO,
) -> Iterator[Member]:
    """The regular files of an archive, one after the other, in one pass; nothing is written.

    Parameters
    ----------
    archive : path
        A tar file, compressed by gzip or not.
    most_members, most_bytes, most_ratio
        As in `unpack`.

    Raises
    ------
    InputError
        As in `unpack`.
    """
    path = as_path(archive)
    limits = _Limits(most_members, most_bytes, most_ratio)
    for info, _ in _files(path, limits, quiet):
        yield Member(info.name, info.size)


def unpack(
    archive: PathLike,
    folder: PathLike,
    *,
    expected: Sequence[str],
    most_members: int = MOST_MEMBERS,
    most_bytes: int = MOST_BYTES,
    most_ratio: float = MOST_RATIO,
    progress: Progress = quiet,
) -> list[Path]:
    """Unpack the expected files of an archive into one folder, without the folders inside it.

    Only regular files are written, and only under their own names; all bytes that come out are counted while they
    do. After an error, the folder is as it was before.

    Parameters
    ----------
    archive : path
        A tar file, compressed by gzip or not.
    folder : path
        Where the files go. Made when it is not there; its parent must be.
    expected : sequence of str
        Patterns such as ``*.tif``, in any case, of the names to unpack; all else is passed over.
    most_members, most_bytes : int
        Most entries, and most bytes that may come out.
    most_ratio : float
        Most bytes that may come out for one in the archive; looked at from 16 MiB on.
    progress : callable
        Gets bytes of the archive that were read, and its size.

    Returns
    -------
    list of Path
        The files, in the archive's order.

    Raises
    ------
    InputError
        ``GS-FILE-MISSING``, ``GS-ARCHIVE-FORMAT``, ``GS-ARCHIVE-DAMAGED``, ``GS-ARCHIVE-EMPTY``,
        ``GS-ARCHIVE-PATH`` (an absolute path, or one that leaves the folder), ``GS-ARCHIVE-KIND`` (links, devices),
        ``GS-ARCHIVE-TWICE``, ``GS-ARCHIVE-MEMBERS``, ``GS-ARCHIVE-BYTES``, ``GS-ARCHIVE-RATIO``.
    OutputError
        ``GS-NO-SPACE``, ``GS-OUTPUT-EXISTS``, ``GS-NOT-WRITABLE``.
    """
    limits = _Limits(most_members, most_bytes, most_ratio)
    return list(_unpack(as_path(archive), as_path(folder), expected, limits, progress))


@contextmanager
def unpacked(
    archive: PathLike, parent: PathLike, *, expected: Sequence[str], headers: bool = False, progress: Progress = quiet
) -> Iterator[Path]:
    """The expected files of an archive, in a folder of its name in `parent`; see `unpack`.

    What is raised in the block names the archive and the files in it, and not the folder, which will be gone.

    Parameters
    ----------
    headers : bool
        Whether the files are only to be opened. Of large ones no more than their ends and the directory of a TIFF are
        written, at most 64 MiB; the rest reads as zeros. The archive itself is read to its end.

    Raises
    ------
    GeosoilError
        As `unpack`, and what is raised in the block.
    """
    path = as_path(archive)
    folder = as_path(parent) / path.name
    limits = _Limits(MOST_MEMBERS, MOST_BYTES, MOST_RATIO)
    files = _unpack(path, folder, expected, limits, progress, headers=headers)
    try:
        yield folder
    except GeosoilError as error:
        places = {str(one): f"{path}/{inside}" for one, inside in files.items()}
        raise _told_of(error, {**places, str(folder): str(path)}) from error


def _told_of(error: GeosoilError, places: Mapping[str, str]) -> GeosoilError:
    """The error with other paths in the place of some."""

    def tell(text: str) -> str:
        for place in sorted(places, key=len, reverse=True):
            text = text.replace(place, places[place])
        return text

    details = [tell(one) for one in error.details]
    return type(error)(tell(error.message), code=error.code, details=details, hint=tell(error.hint))


def _unpack(
    path: Path, folder: Path, expected: Sequence[str], limits: _Limits, progress: Progress, *, headers: bool = False
) -> dict[Path, str]:
    """The files that were written, with their paths in the archive."""
    with _workspace(folder) as work:
        found: dict[str, str] = {}
        taken: set[str] = set()
        written = 0
        for info, data in _files(path, limits, progress):
            name = PurePosixPath(info.name).name
            if not _matches(name, expected):
                continue
            if name.lower() in taken:
                raise _refused(path, "holds two files of one name", "TWICE", [f"name: {name}"], "unpack it by hand")
            found[name] = info.name
            taken.add(name.lower())
            size = min(info.size, 4 * HEADER_BYTES) if headers else info.size
            written += size
            if headers and written > _MOST_HEADERS:
                limit = f"limit: {_MOST_HEADERS} bytes of headers"
                raise _refused(path, "holds far more files than a product", "BYTES", [limit], _HOSTILE)
            _check_room(folder, name, size)
            _copy(_pieces(path, data), work / name, info.size, headers=headers)
        if not found:
            raise _refused(
                path, "holds none of the files expected", "EMPTY", [f"expected: {listing(expected)}"],
                "name the archive that the provider delivered, or unpack it and name the product's folder",
            )  # fmt: skip
        settled = _settle([work / name for name in found], folder)
        return dict(zip(settled, found.values(), strict=True))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name fits one of the patterns, in any case."""
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)


def _refused(archive: Path, problem: str, code: str, details: Sequence[str] = (), hint: str = "") -> InputError:
    return InputError(
        f"{short_name(str(archive))} {problem}",
        code=f"GS-ARCHIVE-{code}",
        details=[f"archive: {archive}", *details],
        hint=hint,
    )


class _Tally:
    """What comes out of a file and of the archives in it, counted; stops a bomb before it fills memory or disk."""

    def __init__(self, archive: Path, file: io.BufferedReader, limits: _Limits, progress: Progress) -> None:
        self.archive, self.file, self.limits, self.progress = archive, file, limits, progress
        self.packed = archive.stat().st_size
        self.count = 0
        self.entries = 0

    def add(self, count: int) -> None:
        """So many bytes came out."""
        self.count += count
        self.check(0)
        self.progress(self.file.tell(), self.packed, "unpacking")

    def check(self, more: int) -> None:
        """Refuse that so many more bytes come out."""
        count = self.count + more
        if count > self.limits.bytes:
            limit = f"limit: {self.limits.bytes} bytes"
            raise _refused(self.archive, "unpacks to more bytes than any product has", "BYTES", [limit], _HOSTILE)
        if count > max(_RATIO_FROM, self.limits.ratio * self.packed):
            facts = [f"packed: {self.packed} bytes, unpacked: more than {count}", f"limit: {self.limits.ratio:g} to 1"]
            raise _refused(self.archive, "unpacks to far more than it holds", "RATIO", facts, _HOSTILE)

    def enter(self) -> None:
        """Count an entry."""
        self.entries += 1
        if self.entries > self.limits.members:
            limit = f"limit: {self.limits.members} entries"
            raise _refused(self.archive, "has more entries than any product", "MEMBERS", [limit], _HOSTILE)


class _Meter:
    """The bytes of one archive, which may lie in another, as tarfile reads them."""

    def __init__(self, archive: Path, file: io.BufferedReader, tally: _Tally) -> None:
        self.archive, self.tally = archive, tally
        self.allowance = 0
        packed = file.peek(2)[:2] == b"\x1f\x8b"
        self.source: io.BufferedReader | gzip.GzipFile = gzip.GzipFile(fileobj=file) if packed else file

    def read(self, size: int) -> bytes:
        data = self.source.read(size)
        self.allowance -= len(data)
        if self.allowance < 0:
            raise _refused(self.archive, "has headers beyond all measure", "DAMAGED", hint=_HOSTILE)
        self.tally.add(len(data))
        return data


_HOSTILE = "it looks like an archive made to do harm; get the product from its provider again"


def _files(archive: Path, limits: _Limits, progress: Progress) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """The regular files with their content, which can be read until the next one is asked for."""
    if not archive.is_file():
        raise InputError(
            f"{short_name(str(archive))} is not a file", code="GS-FILE-MISSING", details=[f"path: {archive}"]
        )
    with _translated(archive), archive.open("rb") as file:
        yield from _walk(archive, _Meter(archive, file, _Tally(archive, file, limits, progress)))


def _pieces(archive: Path, data: IO[bytes]) -> Iterator[bytes]:
    with _translated(archive):
        while piece := data.read(_PIECE):
            yield piece


@contextmanager
def _translated(archive: Path) -> Iterator[None]:
    """What tarfile and gzip raise for bytes that are not what they should be, as errors of geosoil."""
    try:
        yield
    except GeosoilError:
        raise
    except tarfile.ReadError as error:
        raise _unreadable(archive, error) from error
    # A chain of headers makes tarfile recurse.
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, ArithmeticError, RecursionError) as error:
        raise _damaged(archive, error) from error


def _unreadable(archive: Path, error: Exception) -> InputError:
    if "unexpected end" in str(error):
        return _damaged(archive, error)
    hint = f"archives that are unpacked: {', '.join(SUFFIXES)}"
    return _refused(archive, "is not a tar archive", "FORMAT", [f"found: {error}"], hint)


def _damaged(archive: Path, error: Exception) -> InputError:
    found = f"found: {str(error)[:200] or type(error).__name__}"
    return _refused(archive, "is cut off or damaged", "DAMAGED", [found], "copy or download it again")


def _walk(archive: Path, meter: _Meter, inside: str = "") -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """The regular files of an archive, which lies under the name `inside` in another one, or in none."""
    meter.allowance = _MOST_HEADER
    with tarfile.open(fileobj=meter, mode="r|") as tar:  # type: ignore[call-overload]  # a stream needs read() alone
        while (info := tar.next()) is not None:
            meter.tally.enter()
            _check_entry(archive, info)
            if info.isreg():
                meter.tally.check(info.size)
                meter.allowance = info.size + _MOST_HEADER
                data = tar.extractfile(info)
                if data is not None:
                    yield from _opened(archive, info, data, meter, inside)
                    while data.read(_PIECE):  # what nobody wanted; else the next headers would pay for it
                        pass
            meter.allowance = _MOST_HEADER
    # The checksum of what was packed comes last, after the padding that tar itself does not ask for.
    meter.allowance = meter.tally.limits.bytes
    while meter.read(_PIECE):
        pass


def _opened(
    archive: Path, info: tarfile.TarInfo, data: IO[bytes], meter: _Meter, inside: str
) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """A file of an archive, or the files in it where it is an archive itself."""
    if is_archive(info.name) and not inside:
        own = archive / info.name
        with _translated(own):
            yield from _walk(own, _Meter(own, cast("io.BufferedReader", data), meter.tally), info.name)
        return
    if inside:
        info.name = f"{inside}/{info.name}"
    yield info, data


def _check_entry(archive: Path, info: tarfile.TarInfo) -> None:
    """Refuse an entry that is no plain file or folder, or that would not stay inside the folder."""
    shown = [f"entry: {info.name[:120]!r}"]
    parts = PurePosixPath(info.name).parts
    # A backslash or a colon is a way out on Windows.
    outside = info.name.startswith("/") or ".." in parts or any(sign in info.name for sign in "\\:")
    if outside or not info.name.isprintable():
        raise _refused(archive, "has an entry with an unsafe path", "PATH", shown, _HOSTILE)
    if not (info.isreg() or info.isdir()) or info.issparse() or info.size < 0:
        kind = {tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link"}.get(info.type, "a special file")
        raise _refused(archive, "has an entry that is no plain file", "KIND", [*shown, f"it is {kind}"], _HOSTILE)
    try:
        tarfile.data_filter(info, tempfile.gettempdir())
    except tarfile.FilterError as error:
        raise _refused(archive, "has an unsafe entry", "PATH", [*shown, str(error)[:200]], _HOSTILE) from error


def _check_room(folder: Path, name: str, size: int) -> None:
    if (folder / name).exists():
        raise OutputError(
            f"{short_name(name)} is there already",
            code="GS-OUTPUT-EXISTS",
            details=[f"folder: {folder}"],
            hint="unpack into an empty folder",
        )
    free = shutil.disk_usage(folder).free
    if free < size + _RESERVE:
        raise OutputError(
            f"too little room to unpack {short_name(name)}",
            code="GS-NO-SPACE",
            details=[f"folder: {folder}", f"needed: {(size + _RESERVE) / 1e6:,.0f} MB, free: {free / 1e6:,.0f} MB"],
            hint="free some space, or unpack elsewhere",
        )


def _copy(pieces: Iterator[bytes], path: Path, size: int, *, headers: bool) -> None:
    """Write a file of so many bytes, or what is needed to open it."""
    try:
        with path.open("xb") as file:
            at, kept = 0, [(0, size)]
            for piece in pieces:
                if headers and at == 0:
                    kept = _header_spans(piece, size)
                if any(first < at + len(piece) and at < last for first, last in kept):
                    file.seek(at)
                    file.write(piece)
                at += len(piece)
            file.truncate(at)
    except OSError as error:
        raise output_error(path, error) from error


def _header_spans(start: bytes, size: int) -> list[tuple[int, int]]:
    """First byte, and one past the last, of the parts of a file that tell what is in it: ends, a TIFF's directory."""
    spans = [(0, HEADER_BYTES), (size - HEADER_BYTES, size)]
    form, place = _DIRECTORY.get(start[:4], ("", 0))
    if form and len(start) >= 16:
        (directory,) = struct.unpack_from(form, start, place)
        spans.append((directory - HEADER_BYTES, directory + HEADER_BYTES))
    return spans


@contextmanager
def _workspace(folder: Path) -> Iterator[Path]:
    """A private folder inside the wanted one; both go again when the work fails."""
    made = not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".geosoil-", dir=folder))
    except OSError as error:
        raise output_error(folder, error) from error
    try:
        yield work
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        if made:
            with suppress(OSError):
                folder.rmdir()
        raise
    shutil.rmtree(work, ignore_errors=True)


def _settle(files: Sequence[Path], folder: Path) -> list[Path]:
    """Move the files to where they belong, all or none."""
    moved: list[Path] = []
    try:
        for path in files:
            moved.append(path.replace(folder / path.name))
    except OSError as error:
        for path in moved:
            path.unlink(missing_ok=True)
        raise output_error(folder, error) from error
    return moved
