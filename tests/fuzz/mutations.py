"""Ways to spoil a file, each drawn from a seeded generator: the same number gives the same spoilt file."""

from __future__ import annotations

import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from geosoil.models.bundle import _digest

__all__ = ["spoil"]

_NUMBER = re.compile(rb"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_NUMBERS = (
    b"0", b"-1", b"1", b"3", b"255", b"65536", b"2147483648", b"9223372036854775808", b"1e30", b"1e308", b"1e999",
    b"-1e999", b"nan", b"inf", b"", b"0.5", b"-0.0", b"99999999999999999999999999", b"1e-320", b"x", b"0x10", b"1_0",
    b"\xd9\xa3", b"9" * 5000,
)  # fmt: skip
_PIECES = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b'"', b"'", b"{", b"}", b"[", b"]", b"=", b";", b",", b"\t",
    b"|", b"%s", b"&x;", b"<!DOCTYPE a [<!ENTITY x 'y'>]>", b"<a>", b"</a>", b"../", b"\xd6\xd0\xce\xc4", b"\xe9",
    b"\xf0\x9f\x98\x80", b"A" * 200_000, b"(" * 3000, b"[" * 3000, b"\\", b"#", b"-", b"null", b"true",
)  # fmt: skip
_INTEGERS = (0, 1, 2, 3, 7, 255, 256, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
_CODES = ("utf-16", "utf-16-be", "utf-8-sig", "gb18030", "cp037", "utf-32", "utf-7")
_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2, 255, 10**6, 10**9, 10**18, 10**40, 1e308, float("nan"), float("inf"), 0.5, "", "x", "../x",
    "A" * 1000, [], [0], [[]], {}, {"a": 1}, [None], [1e30, -1e30],
)  # fmt: skip
_DTYPES = ("float32", "float64", "int64", "int32", "uint8", "bool", "float16")

#: Suffixes of files that are text.
TEXT = frozenset({".hdr", ".xml", ".rpb", ".raw", ".csv", ".tsv", ".sed", ".toml", ".vrt", ".geojson", ".qgs", ".txt"})


def spoil(data: bytes, suffix: str, rng: Random) -> bytes:
    """A spoilt copy of a file's content.

    Parameters
    ----------
    data : bytes
        The whole file.
    suffix : str
        By which it is known whether it is text, an archive or a model; those are also spoilt from inside.
    """
    inside = _INSIDE.get(suffix)
    if inside is not None and rng.random() < 0.7:
        return inside(data, rng)
    ways = _LINES if suffix in TEXT and rng.random() < 0.85 else _BYTES
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(ways)(data, rng)
    return data


def _place(data: bytes, rng: Random) -> int:
    """Somewhere in the file; often where its headers stand."""
    return rng.randrange(min(len(data), rng.choice((64, 1024, len(data)))) or 1) if data else 0


def _flip(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 30))):
        if changed:
            changed[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.choice((0, 1, _place(data, rng), max(len(data) - rng.randrange(1, 40), 0)))]


def _drop(data: bytes, rng: Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 8, 512)) :]


def _insert(data: bytes, rng: Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.randbytes(rng.choice((1, 2, 8, 512))) + data[at:]


def _repeat(data: bytes, rng: Random) -> bytes:
    at, size = _place(data, rng), rng.choice((1, 8, 512))
    return data[:at] + data[at : at + size] * rng.choice((2, 3, 100)) + data[at + size :]


def _integer(data: bytes, rng: Random) -> bytes:
    size, at = rng.choice((1, 2, 4, 8)), _place(data, rng)
    value = rng.choice(_INTEGERS) % (1 << 8 * size)
    return data[:at] + value.to_bytes(size, rng.choice(("little", "big"))) + data[at + size :]


_BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (_flip, _cut, _drop, _insert, _repeat, _integer, _integer)


def _number(data: bytes, rng: Random) -> bytes:
    found = list(_NUMBER.finditer(data))
    if not found:
        return data
    one = rng.choice(found)
    return data[: one.start()] + rng.choice(_NUMBERS) + data[one.end() :]


def _numbers(data: bytes, rng: Random) -> bytes:
    """All numbers of a line."""
    return _lines(data, rng, lambda line: [_NUMBER.sub(rng.choice(_NUMBERS).replace(b"\\", b""), line)])


def _lines(data: bytes, rng: Random, change: Callable[[bytes], list[bytes]]) -> bytes:
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at : at + 1] = change(lines[at])
    return b"\n".join(lines)


def _leave_line(data: bytes, rng: Random) -> bytes:
    return _lines(data, rng, lambda line: [])


def _twice(data: bytes, rng: Random) -> bytes:
    return _lines(data, rng, lambda line: [line] * rng.choice((2, 3)))


def _swap(data: bytes, rng: Random) -> bytes:
    """Two words of a file change places."""
    words = re.split(rb"([\s,;=<>{}\"]+)", data)
    if len(words) > 2:
        one, other = rng.randrange(0, len(words), 2), rng.randrange(0, len(words), 2)
        words[one], words[other] = words[other], words[one]
    return b"".join(words)


def _piece(data: bytes, rng: Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.choice(_PIECES) + data[at:]


def _recode(data: bytes, rng: Random) -> bytes:
    return data.decode("utf-8", "replace").encode(rng.choice(_CODES), "replace")


def _blank(data: bytes, rng: Random) -> bytes:
    return rng.choice((b"", b"\n", b" ", b"\x00" * 100, data.replace(b",", b";"), data.replace(b"\n", b"\r")))


_LINES = (_number, _number, _number, _numbers, _leave_line, _twice, _swap, _swap, _piece, _recode, _blank, _cut, _flip)


def _tar(data: bytes, rng: Random) -> bytes:
    """The archive packed again, with an entry that nobody should trust."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=out, mode="w:gz") as new:
        entries = old.getmembers()
        odd = rng.randrange(len(entries))
        for place, info in enumerate(entries):
            content = (file.read() if (file := old.extractfile(info)) else b"") if info.isreg() else b""
            if place == odd:
                info, content = _odd_entry(info, content, rng)
            new.addfile(info, io.BytesIO(content))
            if place == odd and rng.random() < 0.2:
                new.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _odd_entry(info: tarfile.TarInfo, content: bytes, rng: Random) -> tuple[tarfile.TarInfo, bytes]:
    outside = ("../a.tif", "/etc/a.tif", "a/../../b.xml", "C:\\a.tif")
    names = (*outside, "a\nb.tif", "é" * 90, "a/" * 300 + "b.tif", ".", "")
    way = rng.randrange(6)
    if way == 0:
        info.name = rng.choice(names)
    elif way == 1:
        info.type, info.linkname = rng.choice((tarfile.SYMTYPE, tarfile.LNKTYPE)), rng.choice(("/etc/passwd", "../x"))
    elif way == 2:
        info.type = rng.choice((tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.GNUTYPE_SPARSE, b"Z"))
    elif way == 3:
        content = bytes(rng.choice((2**20, 24 * 2**20)))
        info.size = len(content)
    elif way == 4:
        info.pax_headers = {"path": rng.choice(names), "size": rng.choice(("-1", "x", "9" * 30, str(len(content))))}
    else:
        content = spoil(content, Path(info.name).suffix, rng)
        info.size = len(content)
    return info, content


def _zip(data: bytes, rng: Random) -> bytes:
    """The workbook packed again, with one part spoilt, or far too large."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        names = old.namelist()
        odd = rng.choice(names)
        for name in names:
            content = old.read(name)
            if name == odd:
                bomb = rng.random() < 0.1
                content = _bomb(content, rng) if bomb else spoil(content, ".xml", rng)
                if rng.random() < 0.1:
                    continue
            new.writestr(name, content)
    return out.getvalue()


def _bomb(content: bytes, rng: Random) -> bytes:
    """A part of a workbook with very many blanks, rows or strings before its first element ends."""
    at = content.find(b"<row") if b"<row" in content else max(content.rfind(b"</"), 0)
    piece = rng.choice((b" ", b"<row><c t='n'><v>1</v></c></row>", b"<si><t>a</t></si>"))
    return content[:at] + piece * (64 * 2**20 // len(piece)) + content[at:]


def _model(data: bytes, rng: Random) -> bytes:
    """The model with its card or an array changed, and the checksum made to fit."""
    size = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    card, arrays = json.loads(metadata["geosoil"]), load(data)
    if rng.random() < 0.6:
        for _ in range(rng.choice((1, 1, 2))):
            _change_value(card, rng)
    else:
        name = rng.choice(sorted(arrays))
        arrays[name] = _change_array(arrays[name], rng)
    text = json.dumps(card)
    return save(arrays, {"geosoil": text, "sha256": _digest(text, arrays)})


def _change_value(card: Any, rng: Random) -> None:
    """Change, drop or add something, anywhere in a tree of JSON."""
    places = list(_places(card))
    holder, key = rng.choice(places)
    way = rng.random()
    if way < 0.1:
        del holder[key]
    elif way < 0.3 and isinstance(holder[key], (int, float)):
        holder[key] = holder[key] * rng.choice((-1, 2, 3, 1000, 10**7)) + rng.choice((0, 1))
    elif way < 0.4:
        other, name = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[name]))
    elif way < 0.5 and isinstance(holder[key], list):
        holder[key] = holder[key] * rng.choice((0, 2, 100))
    else:
        holder[key] = rng.choice(_VALUES)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    found = [(tree, key) for key in keys]
    return found + [one for key in keys for one in _places(tree[key])]


def _change_array(array: np.ndarray, rng: Random) -> np.ndarray:
    way = rng.randrange(5)
    if way == 0:
        return np.ascontiguousarray(array.astype(rng.choice(_DTYPES)))
    if way == 1:
        return np.ascontiguousarray(array[: len(array) // 2] if array.ndim else array[None])
    if way == 2:
        return np.ascontiguousarray(array.reshape(-1))
    if way == 3:
        return np.zeros(rng.choice(((0,), (1,), (1, 1), (0, 5), (3, 3, 3))), array.dtype)
    changed = np.array(array)
    if changed.size:
        with np.errstate(all="ignore"):
            value = np.float64(rng.choice((-1, 0, 1e9, np.nan, np.inf, -np.inf)))
            changed.reshape(-1)[rng.randrange(changed.size)] = value.astype(array.dtype)
    return changed


_INSIDE: dict[str, Callable[[bytes, Random], bytes]] = {".gz": _tar, ".xlsx": _zip, ".gsm": _model}
