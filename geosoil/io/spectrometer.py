"""Files of field spectrometers: ASD's binary ``.asd`` and Spectral Evolution's text ``.sed``, to reflectance."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.errors import InputError, listing

from .addresses import short_name

if TYPE_CHECKING:
    from geosoil.types import Float64

__all__ = ["Measured", "read_asd", "read_sed"]

# ASD file format, version 8, revision B (ASD Inc.): little-endian, places of what is used here.
_HEADER = 484
_VERSIONS = (b"ASD", *(f"as{number}".encode() for number in range(2, 9)))
_TYPE, _FIRST, _STEP, _FORMAT, _CHANNELS, _FLAGS, _SPLICE = 186, 191, 195, 199, 204, 421, 444
_FORMATS = {0: "<f4", 1: "<i4", 2: "<f8"}
_TYPES = (
    "raw",
    "reflectance",
    "radiance",
    "no units",
    "irradiance",
    "quality index",
    "transmittance",
    "unknown",
    "absorbance",
)
#: Types whose file holds counts of the sample, and of the white reference behind them.
_COUNTS = ("raw", "reflectance", "radiance")
#: Bits of the second flag byte: a detector that was saturated.
_SATURATED = 0b111
#: Between the spectrum and the reference: a flag, two times, and the length of a text.
_REFERENCE = struct.Struct("<h8s8sH")
#: Largest file that is read, bytes: a spectrum takes some ten thousand.
_MOST = 16 * 2**20


@dataclass(frozen=True, eq=False)
class Measured:
    """One spectrum of a spectrometer's file.

    Attributes
    ----------
    wavelength_nm : (p,) float64
        Wavelengths, nm.
    reflectance : (p,) float64
        0 to 1; NaN where the white reference is not positive.
    saturated : bool
        Whether the file says that a detector was saturated.
    splice_nm : tuple of float
        Where the detectors join, nm; empty where the file does not tell.
    facts : dict
        ``instrument``, ``acquired`` and what else a file tells, as text.
    """

    wavelength_nm: Float64
    reflectance: Float64
    saturated: bool = False
    splice_nm: tuple[float, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def _wrong(path: Path, problem: str, code: str, *details: str, hint: str = "") -> InputError:
    return InputError(f"{short_name(str(path))} {problem}", code=code, details=[f"file: {path}", *details], hint=hint)


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > _MOST:
            raise _wrong(path, "is too large for one spectrum", "GS-SPECTRUM-READ", f"size: {size} bytes")
        return path.read_bytes()
    except OSError as error:
        raise _wrong(path, "cannot be read", "GS-FILE-MISSING", error.strerror or str(error)) from error


def read_asd(path: Path) -> Measured:
    """Read an ASD file, versions 1 to 8.

    Counts of the sample are divided by those of the white reference that the file carries; both were measured with the
    same gains. Only the first version stores reflectance itself.

    Raises
    ------
    InputError
        ``GS-SPECTRUM-READ`` (not an ASD file), ``GS-SPECTRUM-TRUNCATED``, ``GS-SPECTRUM-REFERENCE`` (no white
        reference), ``GS-SPECTRUM-TYPE`` (neither counts nor reflectance).
    """
    data = _content(path)
    if data[:3] not in _VERSIONS:
        found = data[:12].decode("latin-1").strip("\x00")
        raise _wrong(
            path, "is not an ASD file", "GS-SPECTRUM-READ", f"begins with {found!r}; expected: ASD, as2 to as8"
        )
    if len(data) < _HEADER:
        raise _truncated(path, len(data), _HEADER)
    first, step = struct.unpack_from("<ff", data, _FIRST)
    (channels,) = struct.unpack_from("<H", data, _CHANNELS)
    if data[_FORMAT] not in _FORMATS or not channels or not (0 < first < 1e5 and 0 < step < 1e3):
        details = f"channels: {channels}, first: {first:g} nm, step: {step:g} nm, number format: {data[_FORMAT]}"
        raise _wrong(path, "has a damaged header", "GS-SPECTRUM-READ", details)
    kind = _TYPES[data[_TYPE]] if data[_TYPE] < len(_TYPES) else "unknown"
    number = np.dtype(_FORMATS[data[_FORMAT]])
    end = _HEADER + channels * number.itemsize
    if len(data) < end:
        raise _truncated(path, len(data), end)
    sample = np.frombuffer(data, number, channels, _HEADER).astype(np.float64)
    white = _white_reference(path, data, end, channels, number) if data[:3] != b"ASD" and kind in _COUNTS else None
    splice = tuple(float(one) for one in struct.unpack_from("<ff", data, _SPLICE))
    return Measured(
        wavelength_nm=first + step * np.arange(channels),
        reflectance=_reflectance(path, kind, sample, white),
        saturated=bool(data[_FLAGS + 1] & _SATURATED),
        splice_nm=splice if all(first < one < first + step * channels for one in splice) else (),
        facts={"instrument": "ASD", "version": data[:3].decode(), "stored": kind},
    )


def _truncated(path: Path, size: int, needed: int) -> InputError:
    details = (f"size: {size} bytes", f"needed: at least {needed} bytes, says its header")
    return _wrong(path, "is cut off", "GS-SPECTRUM-TRUNCATED", *details, hint="copy it again")


def _white_reference(path: Path, data: bytes, start: int, channels: int, number: np.dtype[Any]) -> Float64 | None:
    """Counts of the white reference; None where the file says that none was taken."""
    if len(data) < start + _REFERENCE.size:
        raise _truncated(path, len(data), start + _REFERENCE.size)
    taken, _, _, length = _REFERENCE.unpack_from(data, start)
    if not taken:
        return None
    begin = start + _REFERENCE.size + length
    end = begin + channels * number.itemsize
    if len(data) < end:
        raise _truncated(path, len(data), end)
    return np.frombuffer(data, number, channels, begin).astype(np.float64)


def _reflectance(path: Path, kind: str, sample: Float64, white: Float64 | None) -> Float64:
    if white is not None and (white > 0).any():
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(white > 0, sample / white, np.nan)
    if kind == "reflectance":
        return sample
    if kind == "absorbance":
        return np.asarray(10.0**-sample, np.float64)
    if kind in _COUNTS:
        raise _wrong(
            path,
            f"holds {kind} values and no white reference",
            "GS-SPECTRUM-REFERENCE",
            hint="export reflectance with the instrument's program",
        )
    raise _wrong(path, f"holds {kind} values, not reflectance", "GS-SPECTRUM-TYPE", f"known: {listing(_COUNTS)}")


def read_sed(path: Path) -> Measured:
    """Read a Spectral Evolution file.

    Raises
    ------
    InputError
        ``GS-SPECTRUM-READ`` (not such a file, or a line that is not numbers), ``GS-SPECTRUM-TRUNCATED`` (fewer lines
        than it announces), ``GS-SPECTRUM-TYPE`` (no reflectance in it).
    """
    text = _content(path).decode("utf-8-sig", errors="replace")
    head, mark, body = text.partition("Data:")
    facts = {
        name.strip().lower(): value.strip()
        for name, colon, value in (line.partition(":") for line in head.splitlines())
    }
    lines = [line for line in body.splitlines() if line.strip()]
    if not mark or not lines or "measurement" not in facts:
        raise _wrong(path, "is not a Spectral Evolution file", "GS-SPECTRUM-READ", "expected: Measurement: and Data:")
    columns = [name.strip() for name in lines[0].split("\t")]
    rows = _numbers(path, lines[1:], len(columns))
    channels = facts.get("channels", "")
    if channels.isdecimal() and len(rows) != int(channels):
        details = (f"lines: {len(rows)}", f"its header says: {channels} channels")
        raise _wrong(path, "is cut off", "GS-SPECTRUM-TRUNCATED", *details, hint="copy it again")
    return Measured(
        wavelength_nm=rows[:, 0],
        reflectance=_sed_reflectance(path, columns, rows),
        facts={key: facts[key] for key in ("instrument", "date") if facts.get(key)},
    )


def _numbers(path: Path, lines: list[str], width: int) -> Float64:
    cells = [line.split() for line in lines]
    ragged = [place for place, row in enumerate(cells, start=1) if len(row) != width]
    if ragged:
        details = f"lines, counted from 1 below the names: {listing(ragged)}"
        raise _wrong(path, f"has lines that are not {width} numbers", "GS-SPECTRUM-READ", details)
    try:
        return np.array(cells, np.float64).reshape(len(cells), width)
    except ValueError as error:
        raise _wrong(path, "has lines that are not numbers", "GS-SPECTRUM-READ", str(error)[:200]) from error


def _sed_reflectance(path: Path, columns: list[str], rows: Float64) -> Float64:
    """From a column of reflectance, in percent or as a share; or from the radiances of sample and reference."""
    names = [name.lower() for name in columns]
    for place, name in enumerate(names):
        if name.startswith(("reflect", "tgt./ref.")):
            return rows[:, place] / (100.0 if "%" in name else 1.0)
    sample = [place for place, name in enumerate(names) if re.search(r"\((target|tgt)", name)]
    white = [place for place, name in enumerate(names) if re.search(r"\(ref", name)]
    if not sample or not white:
        raise _wrong(path, "holds no reflectance", "GS-SPECTRUM-TYPE", f"columns: {listing(columns)}")
    below, above = rows[:, white[0]], rows[:, sample[0]]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.nan)
