"""Files that an adversary or a broken disk would make, each from a good one; chance does not come upon them."""

from __future__ import annotations

import gzip
import io
import json
import pickle  # noqa: TID251  (what must be refused)
import re
import shutil
import struct
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import rasterio

__all__ = ["HOSTILE", "TOUCHED", "Hostile", "copy_of"]

#: What code in a store would write, in the folder at hand.
TOUCHED = "touched"


@dataclass(frozen=True)
class Hostile:
    """A way to spoil a good file.

    Attributes
    ----------
    kind, good : str
        Of `kinds.KINDS`, and the good file or folder that is spoilt.
    spoil : callable
        Changes its copy in place.
    code : str
        What must come of it; ``ok`` where it is sound by the rules of its format.
    """

    kind: str
    good: str
    spoil: Callable[[Path], object]
    code: str


# --- Zarr ---


def _metadata(store: Path, array: str, **changes: Any) -> None:
    """Change an array's metadata, and the copy that all arrays' metadata have in one file."""
    path = store / array / ".zarray"
    told = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps(told), encoding="utf-8")
    whole = store / ".zmetadata"
    if whole.exists():
        content = json.loads(whole.read_text(encoding="utf-8"))
        content["metadata"][f"{array}/.zarray"] = told
        whole.write_text(json.dumps(content), encoding="utf-8")


class _Code:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path(TOUCHED).touch, ()


def _pickled(store: Path, **changes: Any) -> None:
    _metadata(store, "b0", **changes)
    (store / "b0/0.0").write_bytes(pickle.dumps(_Code()))


def _patch(path: Path, at: int, content: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[at : at + len(content)] = content
    path.write_bytes(data)


def _cut(path: Path, share: float = 0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _far_index(store: Path) -> None:
    """The index of a shard points far beyond its end."""
    path = store / "b1/c/0/0"
    # 9 chunks, an offset and a length each, and a checksum of all.
    index = struct.pack("<18Q", *[2**62, 64] * 9)
    path.write_bytes(path.read_bytes()[: -len(index) - 4] + index + struct.pack("<I", _crc32c(index)))


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


# --- NetCDF ---


def _hdf(change: Callable[[h5py.File], object]) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return spoil


def _endless_axis(file: h5py.File) -> None:
    """Coordinates that take no room on the disk, and 8 TB in memory."""
    del file["x"]
    x = file.create_dataset("x", (10**12,), "f8", chunks=(2**20,))
    x.make_scale("x")


def _large_chunk(file: h5py.File) -> None:
    attrs = dict(file["b0"].attrs)
    del file["b0"]
    made = file.create_dataset("b0", (24, 24), "f4", chunks=(24, 24), maxshape=(None, None))
    wide = file.create_dataset("wide", (30_000, 30_000), "f4", chunks=(30_000, 30_000), compression="gzip")
    for one in (made, wide):
        one.attrs.update({name: value for name, value in attrs.items() if name == "crs"})


def _outside(file: h5py.File) -> None:
    """Values that lie in another file of the machine."""
    del file["b0"]
    made = file.create_dataset("b0", (24, 24), "u1", external=[("/etc/passwd", 0, 576)])
    for place, name in enumerate(("y", "x")):
        made.dims[place].attach_scale(file[name])


def _inflating(file: h5py.File) -> None:
    """A chunk of 2,304 bytes that inflates to 4 GB, of three megabytes of the file."""
    names, attrs = ("y", "x"), dict(file["b0"].attrs)
    del file["b0"]
    made = file.create_dataset("b0", (24, 24), "f4", chunks=(24, 24), compression="gzip")
    packer = zlib.compressobj(1)
    head = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    made.id.write_direct_chunk((0, 0), head + again * 255)
    for place, name in enumerate(names):
        made.dims[place].attach_scale(file[name])
    made.attrs.update({name: value for name, value in attrs.items() if name != "DIMENSION_LIST"})


def _dangling(file: h5py.File) -> None:
    """Links to nowhere."""
    file["soft"] = h5py.SoftLink("/nowhere")
    file["far"] = h5py.ExternalLink("/nowhere.nc", "/x")


def _classic_size(path: Path) -> None:
    """A dimension of the header 2 billion long; the file is as it was."""
    data = path.read_bytes()
    at = data.index(b"\x00\x00\x00\x01x\x00\x00\x00") + 8
    _patch(path, at, struct.pack(">I", 2**31 - 8))


# --- VRT and TIFF ---


def _text(name: str, old: str, new: str) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        one = path / name if path.is_dir() else path.with_name(name)
        text = one.read_text(encoding="utf-8")
        assert re.search(old, text), text
        one.write_text(re.sub(old, lambda _: new, text, count=1), encoding="utf-8")

    return spoil


def _chain(path: Path) -> None:
    """VRTs that show each other, without end."""
    for one, other in (("a", "b"), ("b", "a")):
        text = (path / "a.vrt").read_text(encoding="utf-8")
        (path / f"{one}.vrt").write_text(re.sub(r">\w+\.\w+<", f">{other}.vrt<", text), encoding="utf-8")


def _stair(path: Path, steps: int = 2000) -> None:
    """A VRT that shows a VRT that shows a VRT."""
    text = (path / "a.vrt").read_text(encoding="utf-8")
    for step in range(steps):
        (path / f"{step}.vrt").write_text(re.sub(r">\w+\.\w+<", f">{step + 1}.vrt<", text), encoding="utf-8")
    (path / f"{steps}.vrt").write_text(text, encoding="utf-8")
    (path / "a.vrt").write_text(re.sub(r">\w+\.\w+<", ">0.vrt<", text), encoding="utf-8")


def _sparse(path: Path) -> None:
    """An image that says it is larger than any memory, and holds no block."""
    (image,) = (one for one in path.rglob("*_VN.*") if one.suffix in {".tif", ".tiff", ".geotiff"})
    with rasterio.open(image) as file:
        profile = {**file.profile, "width": 200_000, "height": 200_000, "tiled": True, "SPARSE_OK": True}
        profile.update(blockxsize=512, blockysize=512, BIGTIFF="YES", compress="deflate")
    with rasterio.open(image, "w", **profile):
        pass


# --- products and archives ---


def _xml(path: Path, content: bytes | Callable[[bytes], bytes]) -> None:
    (xml,) = path.rglob("*.xml")
    xml.write_bytes(content(xml.read_bytes()) if callable(content) else content)


def _nested(path: Path, depth: int = 40) -> None:
    """The archive in an archive in an archive."""
    for _ in range(depth):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            info = tarfile.TarInfo("inner.tar.gz")
            info.size = path.stat().st_size
            tar.addfile(info, io.BytesIO(path.read_bytes()))
        path.write_bytes(out.getvalue())


def _many(path: Path) -> None:
    """Very many empty members."""
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for number in range(30_000):
            tar.addfile(tarfile.TarInfo(f"a{number}.xml"))


def _zeros_after(path: Path) -> None:
    """A stream that ends well, and goes on with a gigabyte of zeros."""
    block = gzip.compress(bytes(2**24))
    path.write_bytes(path.read_bytes() + block * 64)


def _linked(path: Path) -> None:
    """Every image is a link out of the archive."""
    with tarfile.open(path) as old:
        entries = old.getmembers()
    with tarfile.open(path, "w:gz") as tar:
        for info in entries:
            info.type, info.linkname, info.size = tarfile.SYMTYPE, f"/etc/{Path(info.name).name}", 0
            tar.addfile(info)


def _tree(path: Path) -> None:
    """A product whose folder holds a link to itself."""
    (path / "again").symlink_to(path, target_is_directory=True)


_UNREADABLE, _READ = "GS-RASTER-UNREADABLE", "GS-RASTER-READ"
_BOMB = b"<!DOCTYPE x [<!ENTITY a0 'ha'>" + b"".join(
    b"<!ENTITY a%d '%s'>" % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 12)
)

#: By what they do.
HOSTILE: dict[str, Hostile] = {
    "a chunk of an exabyte": Hostile(
        "store", "stack.zarr", lambda p: _metadata(p, "b0", chunks=[10**9, 10**9]), _UNREADABLE
    ),
    "chunks of no cells": Hostile("store", "stack.zarr", lambda p: _metadata(p, "b0", chunks=[0, 0]), _READ),
    "a trillion coordinates": Hostile(
        "store", "stack.zarr", lambda p: _metadata(p, "x", shape=[10**12], chunks=[2**20]), _UNREADABLE
    ),
    "more cells than coordinates": Hostile(
        "store", "stack.zarr", lambda p: _metadata(p, "b0", shape=[10**9, 10**9]), _UNREADABLE
    ),
    "a pickle for a chunk": Hostile(
        "store", "stack.zarr", lambda p: _pickled(p, compressor={"id": "pickle"}), _UNREADABLE
    ),
    "a pickle for objects": Hostile(
        "store",
        "stack.zarr",
        lambda p: _pickled(p, dtype="|O", filters=[{"id": "pickle"}], compressor=None),
        _UNREADABLE,
    ),
    "a chunk that is missing": Hostile("store", "stack.zarr", lambda p: (p / "b1/0.0").unlink(), "ok"),
    "a chunk that is cut": Hostile("store", "stack.zarr", lambda p: _cut(p / "b1/0.0"), _READ),
    "an empty chunk": Hostile("store", "stack.zarr", lambda p: (p / "b1/0.0").write_bytes(b""), _READ),
    "a chunk that says it is long": Hostile(
        "store", "stack.zarr", lambda p: _patch(p / "b1/0.0", 12, struct.pack("<I", 2**30)), _READ
    ),
    "a chunk that says it unpacks to much": Hostile(
        "store", "stack.zarr", lambda p: _patch(p / "b1/0.0", 4, struct.pack("<II", 2**31 - 1, 2**31 - 1)), _READ
    ),
    "a chunk of coordinates that says it is long": Hostile(
        "store", "stack.zarr", lambda p: _patch(p / "x/0", 12, struct.pack("<I", 2**30)), _UNREADABLE
    ),
    "a damaged chunk of the third format": Hostile(
        "store", "third.zarr", lambda p: _patch(p / "b0/c/0/0", 12, struct.pack("<I", 2**30)), _READ
    ),
    "a shard whose index points beyond it": Hostile("store", "third.zarr", _far_index, _READ),
    "a shard that is cut": Hostile("store", "third.zarr", lambda p: _cut(p / "b2/c/0/0"), _READ),
    "a folder for a chunk": Hostile(
        "store", "stack.zarr", lambda p: _folder(p / "b1/0.0"), _READ
    ),
    "NetCDF cut in the middle": Hostile("store", "four.nc", _cut, _UNREADABLE),
    "classic NetCDF cut in the middle": Hostile("store", "classic.nc", _cut, _UNREADABLE),
    "classic NetCDF of 2 billion columns": Hostile("store", "classic.nc", _classic_size, _UNREADABLE),
    "an axis of 8 TB in NetCDF": Hostile("store", "four.nc", _hdf(_endless_axis), _UNREADABLE),
    "a chunk of 4 GB in NetCDF": Hostile("store", "four.nc", _hdf(_large_chunk), _UNREADABLE),
    "a chunk in NetCDF that inflates to 4 GB": Hostile("store", "four.nc", _hdf(_inflating), _READ),
    "values in another file": Hostile("store", "four.nc", _hdf(_outside), _UNREADABLE),
    "links to nowhere": Hostile("store", "four.nc", _hdf(_dangling), _UNREADABLE),
    "VRTs that show each other": Hostile("store", "stack.vrt", _chain, _UNREADABLE),
    "2,000 VRTs in one another": Hostile("store", "stack.vrt", _stair, _UNREADABLE),
    "a VRT of 4e18 cells": Hostile(
        "store", "stack.vrt", _text("a.vrt", "rasterXSize='24' rasterYSize='24'", "rasterXSize='2000000000' "
        "rasterYSize='2000000000'"), "GS-RASTER-SIZE",
    ),
    "entities in a VRT": Hostile(
        "store", "stack.vrt", _text("a.vrt", "<VRTDataset", f"{_BOMB.decode()}]><VRTDataset"), "ok"
    ),
    "a header of 1e15 lines": Hostile("envi", "bil.dat", _text("bil.hdr", r"lines = \d+", "lines = 10" + "0" * 14),
                                      "GS-RASTER-TRUNCATED"),
    "an offset beyond the file": Hostile(
        "envi", "bil.dat", _text("bil.hdr", r"header offset = \d+", "header offset = 9000000000000000000"),
        "GS-RASTER-TRUNCATED",
    ),
    "an offset below 0": Hostile("envi", "bil.dat", _text("bil.hdr", r"header offset = \d+", "header offset = -64"),
                                 "GS-ENVI-HEADER"),
    "a cell of 1e999": Hostile("envi", "bil.dat", _text("bil.hdr", r"map info = \{([^,]*,){5}[^,]*",
                                                        "map info = {UTM, 1, 1, 1e999, 0, 1e999"), "GS-GRID-MISSING"),
    "names of control signs": Hostile(
        "envi", "bil.dat", _text("bil.hdr", r"\Z", "\nband names = {\x1b[2J\x07, a\rb, \x00, c, d, e, f, g}\n"), "ok"
    ),
    "an image larger than any memory": Hostile("product", "", _sparse, "GS-PRODUCT-SIZE"),
    "entities in the XML": Hostile("product", "", lambda p: _xml(p, _BOMB + b"]><x>&a11;</x>"), "GS-XML-UNSAFE"),
    "an XML of 1e999": Hostile(
        "product", "", lambda p: _xml(p, lambda text: re.sub(rb">\s*\d+\.\d+\s*<", b">1e999<", text)), "ok"
    ),
    "an XML in UTF-32": Hostile(
        "product", "", lambda p: _xml(p, lambda text: text.decode().encode("utf-32")), "GS-XML-BROKEN"
    ),
    "a product in itself": Hostile("product", "", _tree, "ok"),
    "archives in archives": Hostile("archive", "gz", _nested, "GS-ARCHIVE-EMPTY"),
    "30,000 members": Hostile("archive", "gz", _many, "GS-ARCHIVE-MEMBERS"),
    "a gigabyte behind the end": Hostile("archive", "gz", _zeros_after, "GS-ARCHIVE-RATIO"),
    "links for images": Hostile("archive", "gz", _linked, "GS-ARCHIVE-KIND"),
}  # fmt: skip


def copy_of(one: Hostile, seeds: Path, folder: Path) -> Path:
    """A copy of the good file, spoilt; the path to open."""
    good = next(path for path in sorted(seeds.iterdir()) if one.good in path.name and path.suffix != ".hdr")
    if good.is_dir():
        path = Path(shutil.copytree(good, folder / good.name))
    else:
        path = Path(shutil.copy(good, folder))
        if good.with_suffix(".hdr").exists():
            shutil.copy(good.with_suffix(".hdr"), folder)
    one.spoil(path)
    return path
