"""Model files: whole, unchanged and safe, or refused."""

from __future__ import annotations

import json
import pickle  # noqa: TID251  (what must be refused)
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from geosoil.errors import InputError, ModelError, OutputError, UsageError
from geosoil.models.bundle import Bundle, Card, PropertyCard, conformal_quantile, load_model
from geosoil.models.forest import Forest
from geosoil.models.transfer import DepthTransfer
from geosoil.prep.encode import Encoder
from geosoil.prep.target import TargetTransform
from geosoil.soil import Depth, property_of
from geosoil.types import Estimator, Layers

from .conftest import Known

DEPTHS = (Depth(0, 5), Depth(5, 15), Depth(30, 60))


def bundle_of(known: Known, estimator: Estimator | None = None) -> Bundle:
    """A model of three bands, one of classes, on the known truth."""
    rng = np.random.default_rng(0)
    raw = known.features.transpose(0, 3, 1, 2)[:, :3].copy()
    raw[:, 2] = rng.integers(1, 4, (len(raw), *raw.shape[2:]))
    encoder = Encoder.fit(raw[:, :, 2, 2], ("dem", "twi", "rock"), classes={"rock": "onehot"})
    value = known.layers.value + 3
    transform = TargetTransform.fit(value, "log")
    layers = Layers(known.layers.profile, known.layers.depth_cm, known.layers.target, transform.forward(value))
    predictor = (estimator or DepthTransfer(patch=5, epochs=3)).fit(encoder.encode(raw), layers, known.depths_cm)
    meta, _ = predictor.state()
    card = Card(
        name="known",
        model="transfer",
        kind=predictor.kind,
        properties=(PropertyCard.of(property_of("soc"), DEPTHS, transform),),
        crs="EPSG:32755",
        extent=(0, 0, 1, 1),
        cell=(90, 90),
        encoder=encoder.to_meta(),
        predictor=meta,
    )
    residuals = tuple(0.2 * rng.standard_normal(40) for _ in range(3))
    return Bundle(card, encoder, predictor, (transform,), residuals)


def raw_tile(size: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    tile = rng.random((3, size, size), np.float32)
    tile[2] = rng.integers(1, 4, (size, size))
    return tile


def test_a_saved_model_says_the_same(known: Known, tmp_path: Path) -> None:
    bundle = bundle_of(known)
    again = load_model(bundle.save(tmp_path / "soc é.gsm"))
    (tmp_path / "other").write_text("")
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1, "whoever may read other new files may read a model"
    tile = raw_tile(16)
    statistics = ("mean", "Q0.05", "Q0.95")
    assert np.array_equal(again.predict_block(tile, statistics), bundle.predict_block(tile, statistics))
    assert again.card.model_dump(mode="json") == bundle.card.model_dump(mode="json")
    assert again.sha256 == bundle.sha256
    assert [output.stem for output in again.outputs()] == ["soc_0-5cm_mean", "soc_5-15cm_mean", "soc_30-60cm_mean"]


@pytest.mark.parametrize("estimator", [DepthTransfer(patch=5, epochs=3), Forest(trees=10)])
def test_a_block_equals_its_patches_and_gaps_stay_gaps(estimator: Estimator, known: Known) -> None:
    bundle = bundle_of(known, estimator)
    tile = raw_tile(14)
    tile[0, 6, 7] = np.nan
    tile[2, 9, 9] = np.nan
    block = bundle.predict_block(tile)
    windows = np.lib.stride_tricks.sliding_window_view(tile, (5, 5), axis=(1, 2)).transpose(1, 2, 0, 3, 4)
    patches = bundle.predict(np.ascontiguousarray(windows).reshape(-1, 3, 5, 5)).T.reshape(3, 10, 10)
    np.testing.assert_allclose(block, patches, rtol=1e-5)
    gaps = np.argwhere(np.isnan(block[0])).tolist()
    assert gaps == [[4, 5], [7, 7]]


def test_the_mean_is_corrected_and_quantiles_enclose_it(known: Known) -> None:
    bundle = bundle_of(known)
    mean, low, high = bundle.predict_block(raw_tile(8), ("mean", "Q0.05", "Q0.95"))[:3]
    assert (low < mean).all()
    assert (mean < high).all()
    scaled = bundle.predictor.predict_tile(bundle.encoder.encode(raw_tile(8)))[0]
    np.testing.assert_allclose(mean, bundle.transforms[0].mean(scaled, bundle.residuals[0]), rtol=1e-4)


def test_an_unknown_statistic_is_refused(known: Known) -> None:
    for tile in (raw_tile(8), np.full_like(raw_tile(8), np.nan)):
        with pytest.raises(UsageError, match="'median'"):
            bundle_of(known).predict_block(tile, ("median",))


def test_conformal_quantiles_cover() -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(400):
        low, high = (conformal_quantile(rng.standard_normal(60), level) for level in (0.05, 0.95))
        inside.append(np.mean((low <= (fresh := rng.standard_normal(200))) & (fresh <= high)))
    assert 0.89 < np.mean(inside) < 0.93


def test_an_existing_file_is_kept_unless_asked(known: Known, tmp_path: Path) -> None:
    path = tmp_path / "soc.gsm"
    path.write_bytes(b"precious")
    bundle = bundle_of(known)
    with pytest.raises(OutputError) as caught:
        bundle.save(path)
    assert caught.value.code == "GS-OUTPUT-EXISTS"
    assert path.read_bytes() == b"precious"
    bundle.save(path, overwrite=True)
    assert load_model(path).sha256 == bundle.sha256
    assert [one.name for one in tmp_path.iterdir()] == ["soc.gsm"]


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


def test_a_pickle_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "soc.gsm"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match="can run code") as caught:
        load_model(path)
    assert caught.value.code == "GS-MODEL-UNSAFE"
    with zipfile.ZipFile(tmp_path / "soc.pt", "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match="can run code"):
        load_model(tmp_path / "soc.pt")
    assert not (tmp_path / "exploded").exists()


def test_every_truncation_is_seen(known: Known, tmp_path: Path) -> None:
    whole = bundle_of(known, Forest(trees=2, min_samples_leaf=(20,))).save(tmp_path / "soc.gsm").read_bytes()
    path = tmp_path / "cut.gsm"
    for length in {0, 1, 7, 8, 9, 40, len(whole) // 2, len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError) as caught:
            load_model(path)
        assert caught.value.code == "GS-MODEL-DAMAGED"


def test_any_changed_byte_is_seen(known: Known, tmp_path: Path) -> None:
    whole = bytearray(bundle_of(known, Forest(trees=2, min_samples_leaf=(20,))).save(tmp_path / "soc.gsm").read_bytes())
    path = tmp_path / "changed.gsm"
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 150):
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(changed)
        with pytest.raises(ModelError):
            load_model(path)


def test_a_forged_checksum_does_not_help_a_card_that_does_not_fit(known: Known, tmp_path: Path) -> None:
    from geosoil.models.bundle import _digest

    path = bundle_of(known).save(tmp_path / "soc.gsm")
    with safe_open(path, framework="numpy") as file:
        card = json.loads(file.metadata()["geosoil"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def forged(**changes: Any) -> Path:
        text = json.dumps({**card, **changes})
        save_file(tensors, tmp_path / "forged.gsm", metadata={"geosoil": text, "sha256": _digest(text, tensors)})
        return tmp_path / "forged.gsm"

    assert load_model(forged()).card.name == "known"
    for changes, code in (
        ({"kind": "os:system"}, "GS-MODEL-KIND"),
        ({"properties": [{**card["properties"][0], "depths": [[0, 5]]}]}, "GS-MODEL-DAMAGED"),
        ({"properties": []}, "GS-MODEL-DAMAGED"),
        ({"surprise": 1}, "GS-MODEL-DAMAGED"),
        ({"predictor": {}}, "GS-MODEL-DAMAGED"),
        ({"encoder": {**card["encoder"], "bands": ["dem"]}}, "GS-MODEL-DAMAGED"),
        ({"schema_version": 2}, "GS-MODEL-DAMAGED"),
    ):
        with pytest.raises(ModelError) as caught:
            load_model(forged(**changes))
        assert caught.value.code == code


def test_a_header_of_any_length_is_read(known: Known, tmp_path: Path) -> None:
    bundle = bundle_of(known)
    seen = set()
    for length in range(0, 320, 8):
        card = bundle.card.model_copy(update={"name": "n" * length})
        path = replace(bundle, card=card).save(tmp_path / "soc.gsm", overwrite=True)
        seen.add(path.read_bytes()[0])
        assert load_model(path).card.name == card.name
    assert 0x80 in seen  # which is how a pickle begins


def test_other_safetensors_and_missing_files_are_named(tmp_path: Path) -> None:
    save_file({"a": np.zeros(3)}, tmp_path / "foreign.gsm")
    with pytest.raises(ModelError, match=r"foreign\.gsm") as caught:
        load_model(tmp_path / "foreign.gsm")
    assert caught.value.code == "GS-MODEL-FOREIGN"
    with pytest.raises(InputError, match=r"absent\.gsm"):
        load_model(tmp_path / "absent.gsm")
