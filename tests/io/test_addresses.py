"""Remote addresses: read by byte ranges, and without secrets in messages."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from geosoil.errors import InputError
from geosoil.grid.patches import read_window
from geosoil.io.addresses import expand, redact
from geosoil.io.raster import open_scene
from geosoil.testing import make_scene, write_raster

if TYPE_CHECKING:
    from geosoil.types import Float32

Refusal = Callable[..., InputError]


def numbers(bands: int = 1, shape: tuple[int, int] = (20, 30), seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(size=(bands, *shape)).astype(np.float32)


class _Ranges(SimpleHTTPRequestHandler):
    """Serves a folder, byte ranges included, and notes what was sent."""

    sent: list[int]

    def send_head(self) -> Any:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return None
        size = path.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        last = min(int(asked[2]), size - 1) if asked and asked[2] else size - 1
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last - first + 1))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(path.read_bytes()[first : last + 1])
            self.sent.append(last - first + 1)
        return None

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[int]]]:
    sent: list[int] = []
    handler = partial(type("Handler", (_Ranges,), {"sent": sent}), directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class TestRemote:
    """Addresses: read by ranges, and without secrets in messages."""

    def test_cog_over_http_reads_only_what_it_needs(self, tmp_path: Path) -> None:
        values = numbers(1, (1024, 1024))
        rasterio.shutil.copy(
            write_raster(tmp_path / "plain.tif", values), tmp_path / "cog.tif", driver="COG", blocksize=256
        )
        with served(tmp_path) as (host, sent):
            scene = open_scene(f"http://user:word@{host}/cog.tif?token=secret")
            window = read_window(scene, (300, 340), (10, 50))
            assert scene.attrs["sources"] == (f"http://{host}/cog.tif",)
        np.testing.assert_array_equal(window, values[:, 300:340, 10:50])
        assert scene["band"].values.tolist() == ["cog"]
        assert 0 < sum(sent) < (tmp_path / "cog.tif").stat().st_size / 3

    def test_missing_remote_file_is_refused_without_its_secrets(self, refusal: Refusal, tmp_path: Path) -> None:
        with served(tmp_path) as (host, _):
            error = refusal(f"http://user:word@{host}/none.tif?token=secret")
        assert error.code == "GS-RASTER-UNREADABLE"
        assert f"http://{host}/none.tif" in error.render()
        assert "secret" not in error.render()
        assert "word" not in error.render()

    def test_secrets_stay_out_of_what_is_shown_of_a_scene(self, tmp_path: Path) -> None:
        make_scene(tmp_path / "s.tif")
        with served(tmp_path) as (host, _):
            scene = open_scene(f"http://user:word@{host}/s.tif?token=secret")
        shown = f"{scene!r} {scene.data.dask!r} {scene.attrs}"
        assert "secret" not in shown
        assert "word" not in shown

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("https://me:pw@host/a.tif?sig=1&b=2 failed", "https://host/a.tif failed"),
            ("/vsicurl/https://host/a.tif?sig=1: no", "/vsicurl/https://host/a.tif no"),
            ("C:/data/what?.tif", "C:/data/what?.tif"),
        ],
    )
    def test_redaction(self, text: str, expected: str) -> None:
        assert redact(text) == expected

    def test_addresses_are_not_looked_for_on_the_disk(self) -> None:
        addresses = ["s3://bucket/a*.tif", "/vsizip/a.zip/b.tif", "https://host/a.tif?x=[1]"]
        assert expand(addresses) == addresses

    @pytest.mark.parametrize("prefix", ["/vsicurl/http:", "http:", "/&#118;sicurl/http:"])
    def test_vrt_on_the_disk_does_not_reach_the_network(self, refusal: Refusal, tmp_path: Path, prefix: str) -> None:
        make_scene(tmp_path / "s.tif")
        with served(tmp_path) as (host, sent):
            rasterio.shutil.copy(tmp_path / "s.tif", tmp_path / "s.vrt", driver="VRT")
            text = (tmp_path / "s.vrt").read_text()
            linked = re.sub(r"(<SourceFilename)[^>]*>[^<]*<", rf'\1 relativeToVRT="0">{prefix}//{host}/s.tif<', text)
            (tmp_path / "s.vrt").write_text(linked)
            error = refusal(tmp_path / "s.vrt")
        assert error.code == "GS-RASTER-UNREADABLE"
        assert "network" in error.render()
        assert not sent

    @pytest.mark.parametrize("name", ["a.tif", "a.nc", "a"])
    def test_a_pipe_is_no_file_and_nobody_waits_for_it(self, refusal: Refusal, tmp_path: Path, name: str) -> None:
        os.mkfifo(tmp_path / name)
        error = refusal(tmp_path / name)
        assert error.code == "GS-FILE-MISSING"
        assert "is a pipe" in error.message
        make_scene(tmp_path / "s.tif")
        rasterio.shutil.copy(tmp_path / "s.tif", tmp_path / "s.vrt", driver="VRT")
        (tmp_path / "s.tif").rename(tmp_path / "t.tif")
        os.mkfifo(tmp_path / "s.tif")
        assert "shows s.tif, which is a pipe" in refusal(tmp_path / "s.vrt").render()

    @pytest.mark.parametrize("name", ["s.vrt", "s.tif"])
    def test_nor_does_a_vrt_that_another_one_shows(self, refusal: Refusal, tmp_path: Path, name: str) -> None:
        make_scene(tmp_path / "far.tif")
        with served(tmp_path) as (host, sent):
            rasterio.shutil.copy(tmp_path / "far.tif", tmp_path / "near.vrt", driver="VRT")
            text = (tmp_path / "near.vrt").read_text()
            far = f'\\1 relativeToVRT="0">/vsicurl/http://{host}/far.tif<'
            (tmp_path / name).write_text(re.sub(r"(<SourceFilename)[^>]*>[^<]*<", far, text))
            (tmp_path / "near.vrt").write_text(text.replace("far.tif", name))
            error = refusal(tmp_path / "near.vrt")
        assert error.code == "GS-RASTER-UNREADABLE"
        assert f"{name}, which it shows" in error.render()
        assert "network" in error.render()
        assert not sent
