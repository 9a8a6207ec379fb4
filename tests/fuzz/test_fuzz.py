"""Spoilt files give geosoil's own errors or a good result, in little time and memory; `run.py` opens many more."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .hostile import HOSTILE, TOUCHED, copy_of
from .kinds import KINDS, make_case, outcome

CORPUS = Path(__file__).parent.parent / "data" / "fuzz"
#: For each spoilt file of the corpus: its kind, the good file whose place it takes, and what must come of it.
CASES = json.loads((CORPUS / "cases.json").read_text(encoding="utf-8"))
#: Fresh cases of each kind.
FRESH = 8
SECONDS, BYTES = 10.0, 2**30


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of good files for each kind that was asked for, made once."""

    class Made(dict[str, Path]):
        def __missing__(self, kind: str) -> Path:
            folder = tmp_path_factory.mktemp(kind)
            KINDS[kind].make(folder)
            self[kind] = folder
            return folder

    return Made()


def bounded(kind: str, path: Path, *, hinted: bool = False) -> str:
    """What came of a file, within the bounds of time and memory."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    found = outcome(kind, path, hinted=hinted)
    assert time.process_time() - began < SECONDS
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < BYTES
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_good_files_open_and_spoilt_ones_are_refused_or_read(kind: str, seeds: dict[str, Path], tmp_path: Path) -> None:
    folder = seeds[kind]
    # The first calls compile and load; they show that the seeds are good, and are not timed.
    assert {outcome(kind, good) for good in folder.iterdir() if good.suffix != ".hdr"} == {"ok"}
    for number in range(FRESH):
        place = tmp_path / str(number)
        place.mkdir()
        opened, _ = make_case(kind, folder, place, number)
        assert bounded(kind, opened)


@pytest.mark.parametrize("name", CASES)
def test_files_that_once_broke_the_rules_are_refused_as_they_should_be(
    name: str, seeds: dict[str, Path], tmp_path: Path
) -> None:
    case = CASES[name]
    good = seeds[case["kind"]] / case["good"]
    if good.is_dir():
        opened = Path(shutil.copytree(good, tmp_path / good.name))
        spoilt = opened / case["file"]
    else:
        opened, spoilt = Path(shutil.copy(good, tmp_path)), tmp_path / case["file"]
        if (header := good.with_suffix(".hdr")).exists():
            shutil.copy(header, tmp_path)
    assert spoilt.exists()
    shutil.copy(CORPUS / name, spoilt)
    assert bounded(case["kind"], opened) == case["code"]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_an_adversary_would_send_is_refused_and_runs_nothing(
    name: str, seeds: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "files").mkdir()
    opened = copy_of(one, seeds[one.kind], tmp_path / "files")
    assert bounded(one.kind, opened, hinted=True) == one.code
    assert not (tmp_path / TOUCHED).exists()


def test_a_number_gives_the_same_case_again(seeds: dict[str, Path], tmp_path: Path) -> None:
    found = []
    for turn in ("one", "other"):
        for number in range(5):
            place = tmp_path / turn / str(number)
            place.mkdir(parents=True)
            _, spoilt = make_case("envi", seeds["envi"], place, number)
            found.append(spoilt.read_bytes())
    assert found[:5] == found[5:]
    assert len(set(found)) > 1


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "raise ModuleNotFoundError(\"No module named 'openpyxl'\", name='openpyxl')",
            "samples: left out, its files cannot be made here: No module named 'openpyxl'",
        ),
        ("raise RuntimeError('torn')", "process ended with 1: RuntimeError: torn"),
        ("import os; os.abort()", "process ended by SIGABRT: Fatal Python error: Aborted"),
    ],
)
def test_a_kind_without_cases_never_looks_like_one_that_passed(line: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "openpyxl").mkdir()
    (tmp_path / "openpyxl" / "__init__.py").write_text(line + "\n", encoding="utf-8")
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", "--kind", "samples", "--cases", "1", "--keep", str(tmp_path / "kept")],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1, ran.stderr
    assert ran.stdout.splitlines()[-1] == told
    assert "0 failed" not in ran.stdout
