"""Archives give the files that belong to a product, and nothing else; what is made to do harm is refused."""

from __future__ import annotations

import gzip
import io
import shutil
import struct
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geosoil.errors import GeosoilError, InputError, OutputError
from geosoil.io.archive import members, unpack, unpacked
from geosoil.io.headers import open_raster

from ..conftest import file_size_limit  # noqa: TID252  (tests are no package that is installed)

FILES = {"a_VN.tif": b"v" * 5000, "a_SW.tif": b"s" * 7000, "a.xml": b"<x/>", "readme.txt": b"hello"}
EXPECTED = ("*.tif", "*.xml")

Entry = tuple[tarfile.TarInfo, bytes]


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> Entry:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    return info, content


def pack(path: Path, entries: Iterable[Entry], mode: str = "w:gz", style: int = tarfile.GNU_FORMAT) -> Path:
    with tarfile.open(path, mode, format=style) as tar:  # type: ignore[call-overload]
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return path


def delivered(folder: Path, suffix: str = ".tar.gz", inner: str = "") -> Path:
    entries = [entry(f"{inner}{name}", content) for name, content in FILES.items()]
    if inner:
        entries.insert(0, entry(inner.rstrip("/"), kind=tarfile.DIRTYPE))
    return pack(folder / f"a{suffix}", entries, "w" if suffix == ".tar" else "w:gz")


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[..., GeosoilError]:
    """The error of unpacking an archive, after which nothing is left behind; listing it is refused too."""

    def refused(archive: Path, *, listed: bool = True, kind: type[GeosoilError] = InputError, **limits: Any) -> Any:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(kind) as caught:
            unpack(archive, tmp_path / "out", expected=EXPECTED, **limits)
        assert sorted(tmp_path.rglob("*")) == before
        assert len(caught.value.message) < 100
        assert any(str(archive) in line for line in caught.value.details)
        if listed:
            with pytest.raises(kind) as again:
                list(members(archive, **limits))
            assert again.value.code == caught.value.code
        return caught.value

    return refused


class TestUnpacking:
    @pytest.mark.parametrize("suffix", [".tar.gz", ".tgz", ".tar"])
    @pytest.mark.parametrize("inner", ["", "a/", "./", "deep/er/"])
    def test_the_expected_files_come_out_flat_and_whole(self, tmp_path: Path, suffix: str, inner: str) -> None:
        found = unpack(delivered(tmp_path, suffix, inner), tmp_path / "out", expected=EXPECTED)
        assert [path.name for path in found] == ["a_VN.tif", "a_SW.tif", "a.xml"]
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in found)
        for path in found:
            assert path.read_bytes() == FILES[path.name]

    @pytest.mark.parametrize("suffix", [".tar.gz", ".tar"])
    @pytest.mark.parametrize("mode", ["w", "w:gz"])
    def test_an_archive_in_an_archive_gives_its_files(self, tmp_path: Path, suffix: str, mode: str) -> None:
        product = delivered(tmp_path, suffix, "a/")
        inside = [entry(f"d/{product.name}", product.read_bytes()), entry("b.tif", b"beside")]
        outer = pack(tmp_path / "outer.tar", inside, mode)
        found = unpack(outer, tmp_path / "out", expected=EXPECTED)
        assert [path.read_bytes() for path in found] == [FILES[path.name] for path in found[:-1]] + [b"beside"]
        assert [one.path for one in members(outer)] == [*(f"d/{product.name}/a/{name}" for name in FILES), "b.tif"]

    def test_archives_are_looked_into_once(self, tmp_path: Path) -> None:
        inner = pack(tmp_path / "inner.tar", [entry("c.tif", b"c")], "w")
        middle = pack(tmp_path / "middle.tar", [entry("inner.tar", inner.read_bytes()), entry("b.tif", b"b")], "w")
        outer = pack(tmp_path / "outer.tar", [entry("middle.tar", middle.read_bytes())], "w")
        assert [path.name for path in unpack(outer, tmp_path / "out", expected=EXPECTED)] == ["b.tif"]

    def test_names_match_in_any_case(self, tmp_path: Path) -> None:
        archive = pack(tmp_path / "a.tar", [entry("A_VN.TIF", b"1")], "w")
        assert [path.name for path in unpack(archive, tmp_path / "out", expected=EXPECTED)] == ["A_VN.TIF"]

    def test_a_folder_keeps_what_is_in_it(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("mine")
        unpack(delivered(tmp_path), tmp_path / "out", expected=EXPECTED)
        assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
        assert len(list((tmp_path / "out").iterdir())) == 4

    def test_a_file_that_is_there_is_not_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a.xml").write_text("mine")
        with pytest.raises(OutputError, match=r"a\.xml is there already"):
            unpack(delivered(tmp_path), tmp_path / "out", expected=EXPECTED)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.xml"]
        assert (tmp_path / "out" / "a.xml").read_text() == "mine"

    def test_progress_ends_at_the_size_of_the_archive(self, tmp_path: Path) -> None:
        seen: list[tuple[int, int]] = []
        archive = delivered(tmp_path)
        unpack(archive, tmp_path / "out", expected=EXPECTED, progress=lambda done, total, _: seen.append((done, total)))
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert seen[-1] == (archive.stat().st_size,) * 2

    def test_a_long_name_is_no_bomb(self, tmp_path: Path) -> None:
        for style in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            archive = pack(tmp_path / "a.tar", [entry("d" * 150 + "/" + "n" * 200 + ".tif", b"1")], "w", style)
            assert unpack(archive, tmp_path / f"out{style}", expected=EXPECTED)[0].read_bytes() == b"1"


class TestLooking:
    def test_members_give_names_and_sizes(self, tmp_path: Path) -> None:
        found = {one.name: one.size for one in members(delivered(tmp_path, inner="a/"))}
        assert found == {name: len(text) for name, text in FILES.items()}

    def test_looking_can_stop_before_the_end(self, tmp_path: Path) -> None:
        archive = delivered(tmp_path, ".tar")
        archive.write_bytes(archive.read_bytes()[:7000])
        assert next(iter(members(archive))).name == "a_VN.tif"


def tiff(before: int, after: int) -> bytes:
    """A grey TIFF of 4 x 5 cells with so many bytes of filling before and after its directory."""
    strip = 8 + before
    tags = [(256, 5), (257, 4), (258, 8), (259, 1), (262, 1), (273, strip), (277, 1), (278, 4), (279, 20)]
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + listed + bytes(4)
    return struct.pack("<2sHI", b"II", 42, strip + 20) + b"x" * before + bytes(range(20)) + directory + b"y" * after


class TestHeaders:
    @pytest.mark.parametrize("places", [(0, 0), (0, 40_000), (40_000, 0), (40_000, 40_000)])
    def test_a_raster_opens_without_most_of_its_bytes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: tuple[int, int]
    ) -> None:
        monkeypatch.setattr("geosoil.io.archive.HEADER_BYTES", 1000)
        monkeypatch.setattr("geosoil.io.archive._PIECE", 512)
        whole = tiff(*places)
        archive = pack(tmp_path / "a.tar.gz", [entry("d/a.tif", whole), entry("a.xml", b"<x/>")])
        (tmp_path / "work").mkdir()
        with unpacked(archive, tmp_path / "work", expected=EXPECTED, headers=True) as folder:
            written = (folder / "a.tif").read_bytes()
            assert open_raster(str(folder / "a.tif"), mapped=False).geobox.shape == (4, 5)
            assert (folder / "a.xml").read_bytes() == b"<x/>"
        assert len(written) == len(whole)
        assert len(written) - written.count(0) < 7000

    def test_an_archive_of_too_many_files_is_no_product(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("geosoil.io.archive._MOST_HEADERS", 10_000)
        (tmp_path / "work").mkdir()
        with (
            pytest.raises(InputError, match="GS-ARCHIVE-BYTES"),
            unpacked(delivered(tmp_path), tmp_path / "work", expected=EXPECTED, headers=True),
        ):
            pass
        assert not list((tmp_path / "work").iterdir())

    def test_what_is_raised_names_the_archive_and_the_file_in_it(self, tmp_path: Path) -> None:
        archive = delivered(tmp_path, inner="deep/er/")
        (tmp_path / "work").mkdir()
        with (
            pytest.raises(InputError) as caught,
            unpacked(archive, tmp_path / "work", expected=EXPECTED) as folder,
        ):
            raise InputError("wrong", code="GS-X", details=[f"file: {folder / 'a_SW.tif'}"], hint=f"see {folder}")
        assert caught.value.render() == f"wrong [GS-X]\n  file: {archive}/deep/er/a_SW.tif\n  see {archive}"


class TestHostile:
    @pytest.mark.parametrize(
        "name",
        ["../a.tif", "x/../../a.tif", "/tmp/a.tif", "..\\a.tif", "C:/a.tif", "a\n.tif"],  # noqa: S108
    )
    def test_a_path_that_leaves_the_folder(self, tmp_path: Path, refusal: Callable[..., Any], name: str) -> None:
        archive = pack(tmp_path / "a.tar.gz", [entry("b.tif", b"1"), entry(name, b"2")])
        assert refusal(archive).code == "GS-ARCHIVE-PATH"
        assert not (tmp_path.parent / "a.tif").exists()

    @pytest.mark.parametrize(
        ("kind", "link"),
        [
            (tarfile.SYMTYPE, "/etc/passwd"),
            (tarfile.SYMTYPE, "b.tif"),
            (tarfile.LNKTYPE, "b.tif"),
            (tarfile.CHRTYPE, ""),
            (tarfile.BLKTYPE, ""),
            (tarfile.FIFOTYPE, ""),
        ],
    )
    def test_links_and_devices(self, tmp_path: Path, refusal: Callable[..., Any], kind: bytes, link: str) -> None:
        archive = pack(tmp_path / "a.tar.gz", [entry("b.tif", b"1"), entry("a.tif", kind=kind, link=link)])
        assert refusal(archive).code == "GS-ARCHIVE-KIND"

    def test_a_link_as_folder_and_a_file_through_it(self, tmp_path: Path, refusal: Callable[..., Any]) -> None:
        entries = [entry("d", kind=tarfile.SYMTYPE, link=str(tmp_path)), entry("d/a.tif", b"1")]
        assert refusal(pack(tmp_path / "a.tar", entries, "w")).code == "GS-ARCHIVE-KIND"

    def test_a_sparse_file_of_a_terabyte(self, tmp_path: Path, refusal: Callable[..., Any]) -> None:
        info = tarfile.TarInfo("a.tif")
        info.type = tarfile.GNUTYPE_SPARSE
        block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        block[386:398] = b"%011o\0" % 0  # one piece of no bytes at 0
        block[398:410] = b"%011o\0" % 0
        block[483:495] = b"%011o\0" % (7 * 2**30)  # the size that it claims
        block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
        (tmp_path / "a.tar").write_bytes(bytes(block) + bytes(1024))
        assert refusal(tmp_path / "a.tar").code == "GS-ARCHIVE-KIND"

    def test_a_bomb_stops_at_the_ratio(self, tmp_path: Path, refusal: Callable[..., Any]) -> None:
        archive = pack(tmp_path / "a.tar.gz", [entry("a.tif", bytes(40 * 2**20))])
        assert archive.stat().st_size < 50_000
        assert refusal(archive).code == "GS-ARCHIVE-RATIO"

    @pytest.mark.parametrize("mode", ["w", "w:gz"])
    def test_a_bomb_in_an_archive_inside(self, tmp_path: Path, refusal: Callable[..., Any], mode: str) -> None:
        inner = pack(tmp_path / "inner.tar.gz", [entry("a.tif", bytes(40 * 2**20))])
        outer = pack(tmp_path / "outer.tar", [entry(inner.name, inner.read_bytes())], mode)
        assert refusal(outer).code == "GS-ARCHIVE-RATIO"

    def test_many_archives_inside_count_together(self, tmp_path: Path, refusal: Callable[..., Any]) -> None:
        inner = pack(tmp_path / "inner.tar", [entry(f"{place}.txt") for place in range(20)], "w").read_bytes()
        outer = pack(tmp_path / "outer.tar", [entry(f"{place}.tar", inner) for place in range(5)], "w")
        assert refusal(outer, most_members=100).code == "GS-ARCHIVE-MEMBERS"

    def test_an_archive_inside_that_is_none(self, tmp_path: Path, refusal: Callable[..., Any]) -> None:
        outer = pack(tmp_path / "outer.tar", [entry("a.tif", b"a"), entry("inner.tar", b"no archive" * 100)], "w")
        error = refusal(outer)
        assert (error.code, error.message) == ("GS-ARCHIVE-FORMAT", "inner.tar is not a tar archive")

    def test_a_bomb_in_a_file_that_nobody_wants(self, tmp_path: Path, refusal: Callable[..., Any]) -> None:
        archive = pack(tmp_path / "a.tar.gz", [entry("readme.txt", bytes(40 * 2**20)), entry("a.tif", b"1")])
        assert refusal(archive).code == "GS-ARCHIVE-RATIO"

    def test_small_images_of_zeros_are_no_bomb(self, tmp_path: Path) -> None:
        archive = pack(tmp_path / "a.tar.gz", [entry("a.tif", bytes(8 * 2**20))])
        assert unpack(archive, tmp_path / "out", expected=EXPECTED)[0].stat().st_size == 8 * 2**20

    def test_more_bytes_than_allowed(self, tmp_path: Path, refusal: Callable[..., Any]) -> None:
        assert refusal(delivered(tmp_path), most_bytes=8000).code == "GS-ARCHIVE-BYTES"
        assert unpack(delivered(tmp_path), tmp_path / "out", expected=EXPECTED, most_bytes=40_000)

    def test_a_size_that_no_disk_has(self, tmp_path: Path, refusal: Callable[..., Any]) -> None:
        info = tarfile.TarInfo("a.tif")
        info.size = 2**60
        (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
        assert refusal(tmp_path / "a.tar").code == "GS-ARCHIVE-BYTES"

    def test_a_size_below_zero(self, tmp_path: Path, refusal: Callable[..., Any]) -> None:
        block = bytearray(tarfile.TarInfo("a.tif").tobuf(tarfile.GNU_FORMAT))
        block[124:136] = b"\xff" * 4 + struct.pack(">q", -1024)
        block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
        (tmp_path / "a.tar").write_bytes(bytes(block) + bytes(10240))
        assert refusal(tmp_path / "a.tar").code in {"GS-ARCHIVE-KIND", "GS-ARCHIVE-DAMAGED"}

    def test_too_many_entries(self, tmp_path: Path, refusal: Callable[..., Any]) -> None:
        entries = [entry(f"{place}.txt") for place in range(301)]
        archive = pack(tmp_path / "a.tar.gz", entries)
        assert refusal(archive, most_members=300).code == "GS-ARCHIVE-MEMBERS"
        assert len(list(members(archive, most_members=301))) == 301

    @pytest.mark.parametrize("style", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_a_header_of_many_megabytes(self, tmp_path: Path, refusal: Callable[..., Any], style: int) -> None:
        archive = pack(tmp_path / "a.tar.gz", [entry("n" * (4 * 2**20), b"1")], style=style)
        assert refusal(archive).code == "GS-ARCHIVE-DAMAGED"

    def test_a_chain_of_headers(self, tmp_path: Path, refusal: Callable[..., Any]) -> None:
        info = tarfile.TarInfo("././@LongLink")
        info.type, info.size = tarfile.GNUTYPE_LONGNAME, 10
        link = info.tobuf(tarfile.GNU_FORMAT) + b"name".ljust(512, b"\0")
        (tmp_path / "a.tar").write_bytes(link * 1000 + bytes(1024))
        assert refusal(tmp_path / "a.tar").code == "GS-ARCHIVE-DAMAGED"

    def test_two_files_of_one_name(self, tmp_path: Path, refusal: Callable[..., Any]) -> None:
        archive = pack(tmp_path / "a.tar.gz", [entry("x/a.tif", b"1"), entry("y/A.tif", b"2")])
        assert refusal(archive, listed=False).code == "GS-ARCHIVE-TWICE"


class TestNotArchives:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="GS-FILE-MISSING"):
            unpack(tmp_path / "a.tar", tmp_path / "out", expected=EXPECTED)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + bytes(2000), b"no tar at all" * 100, b"\x1f\x8b"])
    def test_other_bytes(self, tmp_path: Path, refusal: Callable[..., Any], content: bytes) -> None:
        (tmp_path / "a.tar.gz").write_bytes(content)
        assert refusal(tmp_path / "a.tar.gz").code in {"GS-ARCHIVE-FORMAT", "GS-ARCHIVE-DAMAGED"}

    def test_nothing_expected_in_it(self, tmp_path: Path, refusal: Callable[..., Any]) -> None:
        archive = pack(tmp_path / "a.tar.gz", [entry("readme.txt", b"1")])
        assert refusal(archive, listed=False).code == "GS-ARCHIVE-EMPTY"

    @pytest.mark.parametrize("suffix", [".tar.gz", ".tar"])
    def test_a_file_that_is_cut_off(self, tmp_path: Path, refusal: Callable[..., Any], suffix: str) -> None:
        noise = np.random.default_rng(0).bytes(30_000)
        archive = pack(tmp_path / f"a{suffix}", [entry("a.tif", noise)], "w:gz" if suffix == ".tar.gz" else "w")
        archive.write_bytes(archive.read_bytes()[:20_000])
        assert refusal(archive).code == "GS-ARCHIVE-DAMAGED"

    def test_a_number_of_an_image_that_changed_on_its_way(self, tmp_path: Path, refusal: Callable[..., Any]) -> None:
        noise = np.random.default_rng(0).bytes(30_000)
        plain = pack(tmp_path / "a.tar", [entry("a.tif", noise)], "w").read_bytes()
        archive = tmp_path / "a.tar.gz"
        # Packed without compression, a changed byte is a changed number and nothing else; only the checksum tells.
        packed = bytearray(gzip.compress(plain, compresslevel=0))
        packed[20_000] ^= 1
        archive.write_bytes(packed)
        assert refusal(archive).code == "GS-ARCHIVE-DAMAGED"

    def test_changed_bytes_give_errors_of_geosoil_or_files(self, tmp_path: Path) -> None:
        packed = delivered(tmp_path, ".tar").read_bytes()
        rng = np.random.default_rng(1)
        refused = 0
        for trial in range(120):
            changed = np.frombuffer(packed, np.uint8).copy()
            changed[rng.integers(0, 2048, 3)] = rng.integers(0, 256, 3)
            raw = changed.tobytes() if trial % 2 else gzip.compress(changed.tobytes())[: int(rng.integers(100, 400))]
            (tmp_path / "b.tar").write_bytes(raw)
            try:
                unpack(tmp_path / "b.tar", tmp_path / "out", expected=EXPECTED)
            except GeosoilError:
                refused += 1
                assert not (tmp_path / "out").exists()
            else:
                shutil.rmtree(tmp_path / "out")
        assert refused > 60


class TestNoRoom:
    def test_too_little_room_is_said_before_writing(self, tmp_path: Path) -> None:
        info = tarfile.TarInfo("a.tif")
        info.size = shutil.disk_usage(tmp_path).free
        (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
        with pytest.raises(OutputError, match="GS-NO-SPACE"):
            unpack(tmp_path / "a.tar", tmp_path / "out", expected=EXPECTED, most_bytes=2**62, most_ratio=1e18)
        assert not (tmp_path / "out").exists()

    def test_a_disk_that_fills_up_leaves_nothing(self, tmp_path: Path) -> None:
        archive = pack(tmp_path / "a.tar", [entry("a.tif", bytes(100_000)), entry("b.tif", bytes(400_000))], "w")
        with file_size_limit(200_000), pytest.raises(OutputError, match="GS-NO-SPACE"):
            unpack(archive, tmp_path / "out", expected=EXPECTED)
        assert not (tmp_path / "out").exists()

    def test_no_folder_to_unpack_in(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="GS-NOT-WRITABLE"):
            unpack(delivered(tmp_path), tmp_path / "no" / "out", expected=EXPECTED)
