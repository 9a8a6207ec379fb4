"""Which reader opens what, and what is said where none or several would."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from geosoil import registry
from geosoil.errors import InputError
from geosoil.types import Reader


class Mine:
    """A plug-in's reader of files that end in .mine."""

    def accepts(self, address: str) -> bool:
        return address.endswith(".mine")

    def open(self, address: str, *, crs: str | None = None, mapped: bool = True) -> Any:
        raise NotImplementedError


class Broken:
    def __init__(self) -> None:
        raise RuntimeError("no licence")


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """Entry points of the group of readers, to be filled by the test."""
    points: list[EntryPoint] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "geosoil.readers" else [])
    registry.readers.cache_clear()
    yield points
    registry.readers.cache_clear()


def point(name: str, what: str = "Mine") -> EntryPoint:
    return EntryPoint(name, f"{__name__}:{what}", "geosoil.readers")


def test_every_reader_of_the_table_is_one() -> None:
    for reader in registry.readers().values():
        assert isinstance(reader, Reader)


def test_general_readers_take_what_no_other_knows(tmp_path: Path) -> None:
    names = {type(registry.reader_for(str(tmp_path / name))).__name__ for name in ("dem.tif", "cube.dat", "x.jp2")}
    assert names == {"RasterReader"}
    assert type(registry.reader_for("https://host/cube.zarr")).__name__ == "StoreReader"
    assert registry.special_reader("https://host/dem.tif") is None


def test_a_plug_in_is_asked_before_the_general_readers(plugged: list[EntryPoint]) -> None:
    plugged.append(point("mine"))
    assert type(registry.reader_for("a.mine")).__name__ == "Mine"
    assert type(registry.reader_for("a.tif")).__name__ == "RasterReader"


def test_two_readers_for_one_file_are_named(plugged: list[EntryPoint]) -> None:
    plugged.extend([point("mine"), point("yours")])
    with pytest.raises(InputError) as caught:
        registry.reader_for("https://me:secret@host/a.mine?token=1&x=.mine")
    assert caught.value.code == "GS-READER-SEVERAL"
    assert "mine" in caught.value.message
    assert "yours" in caught.value.message
    assert "secret" not in caught.value.render()
    assert "token" not in caught.value.render()
    assert len(caught.value.message) < 100


def test_a_file_that_no_reader_knows_is_refused_with_their_names(
    plugged: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugged.append(point("mine"))
    monkeypatch.setattr(registry, "GENERAL", ())
    monkeypatch.setattr(registry, "READERS", {})
    with pytest.raises(InputError) as caught:
        registry.reader_for("a.tif")
    assert caught.value.code == "GS-READER-NONE"
    assert "mine" in caught.value.render()


def test_a_plug_in_that_does_not_load_is_named(plugged: list[EntryPoint]) -> None:
    plugged.append(point("mine", "Broken"))
    with pytest.raises(InputError) as caught:
        registry.reader_for("a.tif")
    assert caught.value.code == "GS-READER-BROKEN"
    assert "no licence" in caught.value.render()
