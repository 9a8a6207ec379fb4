"""A search on a study: what it learns from, what it leaves, and that the study takes its network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geosoil.config import Study
from geosoil.errors import InputError
from geosoil.jobs.search import SearchResult, SearchSettings, search
from geosoil.jobs.search_study import search_study, summary
from geosoil.jobs.transfer import build_transfer, recipe_of_transfer
from geosoil.models.conv_head import CnnSettings

from .lent import LOCAL, lent_study, make_lent

SMALL = SearchSettings(
    trials=4, folds=3, together=2, most_multiplications=150_000, most_weights=40_000, epochs=(3, 6), patience=3
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Farm and library; not to be written to."""
    return make_lent(tmp_path_factory.mktemp("lent"))


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of samples that searches were given."""
    seen: list[int] = []

    def noting(X: np.ndarray, *arguments: object, **named: object) -> SearchResult:
        seen.append(len(X))
        return search(X, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("geosoil.jobs.search_study.search", noting)
    return seen


def replaced(study: Study, net: Path) -> Study:
    """The study with another file as its network."""
    return study.model_copy(update={"transfer": study.transfer.model_copy(update={"net": str(net)})})


def test_a_search_leaves_a_network_that_the_study_takes(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "network"
    found = search_study(lent_study(site, transfer={"kind": "instances"}), out, settings=SMALL, device="cpu")
    assert {path.name for path in out.iterdir()} == {"best.json", "trials.csv", "search.png", "trials.log"}
    table = pd.read_csv(out / "trials.csv")
    assert len(table) == len(found.trials) == 4
    assert table.query("state == 'complete'")["rmse"].min() == pytest.approx(found.rmse, rel=1e-5)
    assert 'net = "' in summary(found, out)
    study = lent_study(site, transfer={"kind": "instances", "head": "cnn", "net": str(out / "best.json")})
    recipe = recipe_of_transfer(study, build_transfer(study))
    assert recipe.head.net == found.best == CnnSettings.load(out / "best.json")
    assert search_study(replaced(study, out / "none.json"), out, settings=SMALL, device="cpu").best == found.best
    plain = recipe_of_transfer(lent_study(site), build_transfer(study), "instances", "cnn")
    assert plain.head == replace(recipe.head, net=None)


@pytest.mark.parametrize(
    ("kind", "schemes", "samples"),
    [
        ("local", ["random"], LOCAL),
        ("local", ["kennard-stone"], 30),
        ("instances", ["kennard-stone"], 30 + 25),
        ("library", ["random"], 280),
    ],
)
def test_it_learns_from_what_the_way_of_transfer_learns_from(
    kind: str, schemes: list[str], samples: int, site: Path, tmp_path: Path, sizes: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    study = lent_study(site, transfer={"kind": kind}, compare={"schemes": schemes})
    search_study(study, tmp_path, settings=replace(SMALL, trials=1), device="cpu")
    assert sizes == [samples]
    assert ("optimistic" in caplog.text) == (kind != "library" and schemes == ["random"])


def test_a_file_that_is_no_network_is_refused(site: Path, tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text(json.dumps({"best": 1}), encoding="utf-8")
    study = lent_study(site, transfer={"kind": "local", "head": "cnn", "net": str(tmp_path / "best.json")})
    with pytest.raises(InputError, match="not what a search of networks leaves"):
        recipe_of_transfer(study, build_transfer(study))
