"""Features: scaled with training limits, classes as columns, gaps filled by one rule."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geosoil.errors import InputError, ModelError
from geosoil.prep.encode import Encoder

NAMES = ("dem", "rock", "flat")


def raw_values(seed: int = 0, n: int = 50) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.uniform(100, 300, n), rng.choice([2, 5, 9], n), np.full(n, 7.0)], axis=1).astype(np.float32)


def fitted(**kwargs: bool) -> Encoder:
    return Encoder.fit(raw_values(), NAMES, classes={"rock": "onehot"}, **kwargs)


def twin(encoder: Encoder, raw: np.ndarray) -> np.ndarray:
    """The same in plain NumPy, slowly."""
    columns = []
    missing = np.zeros(raw.shape[1:], bool)
    for place, codes in enumerate(encoder.categories):
        band = raw[place].astype(np.float64)
        gap = ~np.isfinite(band)
        if codes is None:
            span = encoder.upper[place] - encoder.lower[place]
            band = np.where(gap, encoder.mean[place], band)
            columns.append((band - encoder.lower[place]) / span if span else np.zeros_like(band))
        else:
            gap |= ~np.isin(band, codes)
            shares = encoder.frequencies[place] or ()
            columns += [np.where(gap, share, band == code) for code, share in zip(codes, shares, strict=True)]
        missing |= gap
    if encoder.mask_channel:
        columns.append(missing.astype(float))
    return np.stack(columns, axis=-1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.integers(1, 9), st.integers(1, 9))
def test_the_kernel_equals_its_plain_twin(seed: int, mask: bool, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    raw = np.stack(
        [
            rng.uniform(50, 400, (height, width)),
            rng.choice([2, 5, 9, 11, np.nan], (height, width)),
            rng.choice([7, np.inf], (height, width)),
        ]
    ).astype(np.float32)
    raw[:, rng.random((height, width)) < 0.2] = np.nan
    encoder = fitted(mask_channel=mask)
    found = encoder.encode(raw, unseen="missing")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, twin(encoder, raw), atol=2e-6)
    known = np.isin(raw[1], [2, 5, 9])
    assert np.array_equal(encoder.valid(raw), np.isfinite(raw).all(axis=0) & known)


def test_training_values_span_zero_to_one_and_others_may_go_beyond() -> None:
    encoder = fitted()
    features = encoder.encode(raw_values().T[:, :, None])
    assert features[..., 0].min() == pytest.approx(0, abs=1e-6)
    assert features[..., 0].max() == pytest.approx(1, abs=1e-6)
    high = np.array([1000.0, 2, 7], np.float32)[:, None, None]
    assert encoder.encode(high)[0, 0, 0] > 3


def test_a_missing_cell_takes_the_training_mean_and_the_shares_of_the_classes() -> None:
    encoder = fitted(mask_channel=True)
    features = encoder.encode(np.full((3, 1, 1), np.nan, np.float32))[0, 0]
    values = raw_values()
    mean = (values[:, 0].mean() - values[:, 0].min()) / np.ptp(values[:, 0])
    shares = [(values[:, 1] == code).mean() for code in (2, 5, 9)]
    np.testing.assert_allclose(features, [mean, *shares, 0, 1], atol=1e-6)
    assert encoder.feature_names == ("dem", "rock=2", "rock=5", "rock=9", "flat", "missing")


def test_patches_and_a_tile_are_encoded_alike() -> None:
    encoder = fitted()
    rng = np.random.default_rng(1)
    tile = np.stack([rng.uniform(100, 300, (9, 9)), rng.choice([2, 5], (9, 9)), np.full((9, 9), 7)]).astype(np.float32)
    whole = encoder.encode(tile)
    patch = np.ascontiguousarray(tile[None, :, 2:7, 3:8])
    assert np.array_equal(encoder.encode(patch)[0], whole[2:7, 3:8])


def test_an_unseen_class_is_named_with_its_band_and_count() -> None:
    raw = np.stack([np.full((2, 2), 150.0), [[2, 5], [77, 77]], np.full((2, 2), 7.0)]).astype(np.float32)
    with pytest.raises(InputError, match="'rock'") as caught:
        fitted().encode(raw)
    assert caught.value.code == "GS-CATEGORY-UNSEEN"
    assert "77 (2 cells)" in caught.value.details[0]
    assert "2, 5, 9" in caught.value.details[1]


def test_fractions_are_not_classes() -> None:
    with pytest.raises(InputError, match="'dem'") as caught:
        Encoder.fit(raw_values(), NAMES, classes={"dem": "onehot"})
    assert caught.value.code == "GS-CATEGORY-CODE"


def test_it_survives_json_and_damage_is_seen() -> None:
    encoder = Encoder.fit(raw_values(), NAMES, classes={"rock": "embedding"}, mask_channel=True)
    meta = json.loads(json.dumps(encoder.to_meta()))
    again = Encoder.from_meta(meta)
    raw = raw_values(3).T[:, :, None]
    assert np.array_equal(again.encode(raw), encoder.encode(raw))
    assert again.embedded_columns == {1: (3, 2)}
    for broken in ({**meta, "lower": [1.0]}, {**meta, "bands": []}, {k: v for k, v in meta.items() if k != "mean"}):
        with pytest.raises(ModelError) as caught:
            Encoder.from_meta(broken)
        assert caught.value.code == "GS-MODEL-DAMAGED"
