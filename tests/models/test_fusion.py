"""Spectral fusion: losses equal closed forms, linear peers equal chemotools, known gains are undone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from chemotools.adaptation import DirectStandardization, PiecewiseDirectStandardization
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from sklearn.linear_model import Ridge

from geosoil.errors import InputError, ModelError, UsageError
from geosoil.models.fusion import (
    FusionSettings,
    Translator,
    cross_generate,
    fit_translator,
    restore_translator,
)
from geosoil.models.fusion_layers import Scale
from geosoil.models.fusion_loss import divergence, kernel_variances, mmd, spectral_angle
from geosoil.models.fusion_settings import KINDS
from geosoil.models.fusion_training import member_of, new_net
from geosoil.models.standardise import _left_out_error

Array = NDArray[np.float64]

QUICK = {"hidden": (24, 12), "latent": 6, "epochs": 8, "learning_rate": 1e-3}


def spectra(n: int = 60, p: int = 40, seed: int = 0) -> Array:
    """Smooth reflectance with a few degrees of freedom."""
    rng = np.random.default_rng(seed)
    place = np.linspace(0, 1, p)
    shapes = np.array([np.ones(p), place, np.exp(-((place - 0.4) ** 2) / 0.01), np.exp(-((place - 0.8) ** 2) / 0.005)])
    found: Array = rng.normal([0.3, 0.1, -0.08, -0.1], [0.05, 0.04, 0.03, 0.03], (n, 4)) @ shapes
    return found


def pairs(n: int = 60, seed: int = 0, noise: float = 0.004) -> tuple[Array, Array]:
    """Satellite = laboratory times a smooth gain, plus an offset, plus noise."""
    laboratory = spectra(n, seed=seed)
    place = np.linspace(0, 1, laboratory.shape[1])
    rng = np.random.default_rng(seed + 100)
    satellite = laboratory * (0.7 + 0.3 * np.sin(3 * place)) + 0.05 + noise * rng.standard_normal(laboratory.shape)
    return satellite, laboratory


def quick(kind: str, **changes: object) -> FusionSettings:
    return FusionSettings.of(kind, **{**(QUICK if kind in {"vae", "vae-residual", "autoencoder"} else {}), **changes})


def rmse(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean((one - other) ** 2)))


# Losses


def test_the_divergence_equals_that_of_torch_distributions() -> None:
    generator = torch.Generator().manual_seed(1)
    mean, spread = torch.randn(7, 5, generator=generator), torch.randn(7, 5, generator=generator)
    made = torch.distributions.Normal(mean, (spread / 2).exp())
    expected = torch.distributions.kl_divergence(made, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    assert float(divergence(mean, spread)) == pytest.approx(float(expected), rel=1e-5)
    assert float(divergence(mean, spread, published=True)) == pytest.approx(2 * float(expected), rel=1e-5)


def test_the_spectral_angle_knows_brightness_from_shape() -> None:
    x = torch.tensor(spectra(5), dtype=torch.float32)
    assert float(spectral_angle(3 * x, x)) < 1e-3
    turned = torch.tensor([[np.cos(0.3), np.sin(0.3)], [np.cos(0.5), np.sin(0.5)]], dtype=torch.float32)
    straight = torch.tensor([[2.0, 0.0], [0.5, 0.0]])
    assert float(spectral_angle(turned, straight)) == pytest.approx(0.4, abs=1e-5)


def test_the_angle_of_equal_spectra_has_a_finite_slope() -> None:
    x = torch.tensor(spectra(4), dtype=torch.float32, requires_grad=True)
    spectral_angle(x, x.detach()).backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("unbiased", [False, True])
def test_the_discrepancy_equals_a_direct_computation(unbiased: bool) -> None:
    one, other = spectra(9, seed=2), spectra(7, seed=3) + 0.05
    variances = (0.01, 0.04, 0.2)

    def mean(a: Array, b: Array, same: bool) -> float:
        total, count = 0.0, 0
        for i, row in enumerate(a):
            for j, column in enumerate(b):
                if not (same and unbiased and i == j):
                    squared = float(((row - column) ** 2).sum())
                    total += float(np.mean([np.exp(-squared / (2 * v)) for v in variances]))
                    count += 1
        return total / count

    expected = mean(one, one, True) + mean(other, other, True) - 2 * mean(one, other, False)
    found = mmd(torch.tensor(one), torch.tensor(other), variances, unbiased=unbiased)
    assert float(found) == pytest.approx(expected, abs=1e-9)


def test_the_discrepancy_of_a_set_with_itself_is_nothing() -> None:
    x = torch.tensor(spectra(12))
    assert float(mmd(x, x, (0.1, 1.0))) == pytest.approx(0, abs=1e-12)


def test_the_discrepancy_of_two_gaussians_equals_its_closed_form() -> None:
    # With kernel variance v, E k(x, y) of N(0, 1) and N(d, 1) is sqrt(v / (v + 2)) exp(-d^2 / (2 (v + 2))).
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(700, 1, generator=generator, dtype=torch.float64)
    y = 1.5 + torch.randn(700, 1, generator=generator, dtype=torch.float64)
    height = np.sqrt(2 / 4)
    expected = 2 * height - 2 * height * np.exp(-(1.5**2) / 8)
    assert float(mmd(x, y, (2.0,), unbiased=True)) == pytest.approx(expected, rel=0.15)


def test_kernel_widths_follow_the_median_distance() -> None:
    rows = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 5.0]], np.float32)
    assert kernel_variances(rows, (0.5, 2.0)) == pytest.approx((12.5, 50.0))


# Linear peers


def test_direct_standardisation_equals_chemotools_on_centred_spectra() -> None:
    satellite, laboratory = pairs()
    new = pairs(20, seed=9)[0]
    expected = DirectStandardization().fit(satellite - satellite.mean(0), X_source=laboratory - laboratory.mean(0))
    found = fit_translator(quick("ds"), satellite, laboratory).generate(new.astype(np.float32))
    wanted = expected.transform(new - satellite.mean(0)) + laboratory.mean(0)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_piecewise_direct_standardisation_equals_chemotools() -> None:
    satellite, laboratory = pairs()
    new = pairs(20, seed=9)[0]
    expected = PiecewiseDirectStandardization(window_length=4, n_components=3, scale=False)
    expected.fit(satellite, X_source=laboratory)
    found = fit_translator(quick("pds", window=4, components=3), satellite, laboratory)
    np.testing.assert_allclose(found.generate(new.astype(np.float32)), expected.transform(new), atol=1e-5)


def test_the_shrunken_map_equals_ridge_regression() -> None:
    satellite, laboratory = pairs()
    new = pairs(20, seed=9)[0]
    centred = satellite - satellite.mean(0)
    penalty = 1e-3 * (centred**2).sum() / len(centred)
    expected = Ridge(alpha=penalty).fit(satellite, laboratory).predict(new)
    found = fit_translator(quick("ridge", penalty=1e-3), satellite, laboratory).generate(new.astype(np.float32))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_without_a_penalty_it_is_direct_standardisation() -> None:
    satellite, laboratory = pairs()
    new = pairs(20, seed=9)[0].astype(np.float32)
    direct = fit_translator(quick("ds"), satellite, laboratory).generate(new)
    np.testing.assert_allclose(
        fit_translator(quick("ridge", penalty=0.0), satellite, laboratory).generate(new), direct, atol=1e-4
    )


@pytest.mark.parametrize("size", [1, 3])
def test_left_out_errors_equal_those_of_fits_without_the_group(size: int) -> None:
    satellite, laboratory = pairs(24)
    groups = np.arange(24) // size
    x, y = satellite - satellite.mean(0), laboratory - laboratory.mean(0)
    turned, root, _ = np.linalg.svd(x, full_matrices=False)
    expected = 0.0
    for group in np.unique(groups):
        out = groups == group
        made = Ridge(alpha=0.02).fit(satellite[~out], laboratory[~out])
        expected += float(((made.predict(satellite[out]) - laboratory[out]) ** 2).sum())
    assert _left_out_error(root**2 / (root**2 + 0.02), turned, y, groups) == pytest.approx(expected, rel=1e-6)


def test_shrinking_beats_direct_standardisation_where_the_sensor_is_noisy() -> None:
    satellite, laboratory = pairs(60, noise=0.02)
    new, truth = pairs(100, seed=9, noise=0.02)
    shrunk, direct = (
        fit_translator(quick(kind), satellite, laboratory).generate(new.astype(np.float32)) for kind in ("ridge", "ds")
    )
    assert rmse(shrunk, truth) < 0.7 * rmse(direct, truth)


def test_orthogonalisation_takes_out_the_first_directions_of_the_differences() -> None:
    satellite, laboratory = pairs()
    found = fit_translator(quick("epo", components=3), satellite, laboratory)
    directions = np.linalg.svd(satellite - laboratory, full_matrices=False)[2][:3]
    new = pairs(20, seed=9)[0].astype(np.float32)
    generated = found.generate(new)
    assert np.abs((generated - generated[0]) @ directions.T).max() < 1e-5
    others = np.eye(len(directions.T)) - directions.T @ directions
    np.testing.assert_allclose((generated - new) @ others, 0, atol=1e-5)


def test_the_weighting_is_the_inverse_square_root_of_the_differences_covariance() -> None:
    """As Martens et al. (2003) have it, with the unit matrix added."""
    satellite, laboratory = pairs()
    both = np.vstack([satellite, laboratory])
    unit = ((both - both.mean(0)) ** 2).sum(1).mean()
    apart = satellite - laboratory
    covariance = apart.T @ apart / len(apart) / (0.02 * unit) + np.eye(satellite.shape[1])
    expected = np.linalg.inv(sqrtm(covariance).real)
    found = fit_translator(quick("glsw", penalty=0.02), satellite, laboratory)
    new = pairs(20, seed=9)[0].astype(np.float32)
    centre = laboratory.mean(0)
    np.testing.assert_allclose(found.generate(new), (new - centre) @ expected + centre, atol=1e-5)


def test_the_weighting_lies_between_leaving_all_and_taking_out_what_differs() -> None:
    satellite, laboratory = pairs(noise=0.02)
    new = pairs(20, seed=9)[0].astype(np.float32)
    loose, tight = (
        fit_translator(quick("glsw", penalty=penalty), satellite, laboratory).generate(new) for penalty in (1e9, 1e-12)
    )
    np.testing.assert_allclose(loose, new, atol=1e-5)
    np.testing.assert_allclose(tight, np.broadcast_to(laboratory.mean(0), new.shape), atol=1e-3)


def test_the_weighting_brings_pairs_together_and_keeps_samples_apart() -> None:
    satellite, laboratory = pairs(120)
    near, far = pairs(50, seed=9)
    found = fit_translator(quick("glsw"), satellite, laboratory)
    here, there = (found.generate(rows.astype(np.float32)) for rows in (near, far))
    assert rmse(here, there) / here.std(axis=0).mean() < 0.5 * rmse(near, far) / near.std(axis=0).mean()


def test_pls_finds_more_components_than_one_where_there_are_four() -> None:
    satellite, laboratory = pairs(noise=0.001)
    new, truth = pairs(30, seed=9, noise=0.001)
    searched = fit_translator(quick("pls"), satellite, laboratory).generate(new.astype(np.float32))
    single = fit_translator(quick("pls", components=1), satellite, laboratory).generate(new.astype(np.float32))
    assert rmse(searched, truth) < 0.1 * rmse(single, truth)


# Known truth


@pytest.mark.parametrize("kind", ["ridge", "pds", "pls", "ds"])
def test_a_smooth_gain_and_offset_are_undone(kind: str) -> None:
    satellite, laboratory = pairs(200)
    new, truth = pairs(50, seed=9)
    found = fit_translator(quick(kind), satellite, laboratory).generate(new.astype(np.float32))
    assert rmse(found, truth) < 0.1 * rmse(new, truth)


@pytest.mark.parametrize("kind", ["autoencoder", "vae", "vae-residual"])
def test_networks_undo_them_as_well(kind: str) -> None:
    satellite, laboratory = pairs(120)
    new, truth = pairs(50, seed=9)
    changes = {"mmd": 0.0, "sad": 0.0, "mse": 1.0, "kld": 1e-4, "dropout": 0.0, "scale_output": True}
    settings = quick(kind, **changes, epochs=80, learning_rate=5e-3)
    found = fit_translator(settings, satellite, laboratory).generate(new.astype(np.float32))
    assert rmse(found, truth) < 0.5 * rmse(new, truth)


def test_the_residual_network_finds_what_a_linear_map_leaves() -> None:
    (bent, laboratory), (new, truth) = ((rows**1.6, far) for rows, far in (pairs(200), pairs(50, seed=9)))
    off = {
        kind: rmse(fit_translator(FusionSettings.of(kind), bent, laboratory).generate(new.astype(np.float32)), truth)
        for kind in ("ridge", "vae-residual")
    }
    assert off["vae-residual"] < 0.8 * off["ridge"]


def test_an_auto_encoder_tells_more_than_the_mean_spectrum() -> None:
    satellite, laboratory = pairs(90)
    new, truth = pairs(50, seed=9)
    found = fit_translator(FusionSettings.of("autoencoder"), satellite, laboratory).generate(new.astype(np.float32))
    assert rmse(found, truth) < 0.5 * rmse(np.broadcast_to(laboratory.mean(axis=0), truth.shape), truth)


@pytest.mark.parametrize("base", ["input", "linear"])
def test_what_the_network_adds_to_starts_near_the_truth(base: str) -> None:
    satellite, laboratory = pairs()
    settings = quick("vae", base=base, epochs=1, scale_output=True, learning_rate=1e-6)
    found = fit_translator(settings, satellite, laboratory).generate(satellite.astype(np.float32))
    assert rmse(found, laboratory) < rmse(satellite, laboratory)


# Files, seeds, chains


@pytest.mark.parametrize(
    "settings",
    [
        *(quick(kind) for kind in KINDS),
        quick("vae", base="linear", scale_output=True, members=2, mse=1.0),
        quick("vae", output="sigmoid"),
        quick("vae", hidden=()),
        quick("vae", n_draws=4),
        quick("vae", seed_search=20, base="input"),
        quick("vae", convention="published", unbiased=True, noise=0.1),
    ],
    ids=lambda one: f"{one.kind}-{one.base}-{one.output}-{one.n_draws}-{one.seed_search}-{one.convention}",
)
def test_a_file_gives_the_same_and_chains_do_too(settings: FusionSettings) -> None:
    satellite, laboratory = pairs()
    made: Translator = fit_translator(settings, satellite, laboratory, y=laboratory[:, 16], seed=3)
    new = pairs(20, seed=9)[0].astype(np.float32)
    meta, arrays = made.state()
    again = restore_translator(made.kind, json.loads(json.dumps(meta)), arrays)
    expected = made.generate(new)
    assert expected.dtype == np.float32
    assert np.array_equal(again.generate(new), expected)
    assert np.abs(made.generate(new[4:5]) - expected[4:5]).max() < 1e-5
    assert again.bands == new.shape[1]
    chains = made.chains()
    draws = settings.n_draws or settings.seed_search
    assert (chains is None) == bool(draws)
    if chains is not None:
        np.testing.assert_allclose(chains(new), expected, atol=1e-5)


def test_folded_layers_equal_the_network() -> None:
    satellite, laboratory = pairs()
    settings = quick("vae", scale_output=True)
    torch.manual_seed(0)
    net = new_net(settings, satellite.shape[1]).eval()
    inside, outside = Scale.of(satellite), Scale.of(laboratory)
    with torch.inference_mode():
        found = net(torch.from_numpy(inside.forward(satellite)))[0].numpy()
    rows = satellite.astype(np.float32)
    for layer in member_of(net, settings, inside, outside).chain:
        rows = layer(rows)
    np.testing.assert_allclose(rows, found * outside.spread + outside.mean, atol=1e-5)


def test_one_seed_gives_one_translator_and_leaves_the_global_generator_alone() -> None:
    satellite, laboratory = pairs()
    rows = satellite.astype(np.float32)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first = fit_translator(quick("vae"), satellite, laboratory, seed=1).generate(rows)
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(fit_translator(quick("vae"), satellite, laboratory, seed=1).generate(rows), first)
    assert not np.array_equal(fit_translator(quick("vae"), satellite, laboratory, seed=2).generate(rows), first)


def test_members_are_averaged() -> None:
    satellite, laboratory = pairs()
    rows = satellite.astype(np.float32)
    both = fit_translator(quick("vae", members=2), satellite, laboratory, seed=1)
    single = [replace(both, members=(one,)).generate(rows) for one in both.members]  # type: ignore[type-var, attr-defined]
    np.testing.assert_allclose(both.generate(rows), (single[0] + single[1]) / 2, atol=1e-6)
    assert np.abs(single[0] - single[1]).max() > 1e-4


def test_a_search_for_seeds_finds_agreement_with_chance() -> None:
    satellite, laboratory = pairs(30)
    chance = np.random.default_rng(5).standard_normal(30)
    rows = satellite.astype(np.float32)

    def agreement(count: int) -> float:
        settings = quick("vae", seed_search=count)
        made = fit_translator(settings, satellite, laboratory, y=chance).generate(rows)
        return float(np.abs([np.corrcoef(band, chance)[0, 1] for band in made.T]).mean())

    assert agreement(200) > agreement(3)


def test_progress_counts_the_epochs_of_all_members() -> None:
    seen: list[tuple[int, int]] = []
    fit_translator(quick("vae", members=2), *pairs(), progress=lambda done, total, _: seen.append((done, total)))
    assert seen == [(done, 16) for done in range(1, 17)]


# Held-out spectra


def test_held_out_spectra_come_from_fits_without_their_group() -> None:
    satellite, laboratory = pairs(30)
    groups = np.arange(30) // 2
    found = cross_generate(quick("ridge"), satellite, laboratory, groups=groups, folds=15)
    for group in (0, 7):
        out = groups == group
        made = fit_translator(quick("ridge"), satellite[~out], laboratory[~out], groups=groups[~out])
        np.testing.assert_allclose(found[out], made.generate(satellite[out].astype(np.float32)), atol=1e-6)


def test_held_out_spectra_are_as_far_off_as_new_ones() -> None:
    satellite, laboratory = pairs(50, noise=0.01)
    new, truth = pairs(400, seed=9, noise=0.01)
    made = fit_translator(quick("ds"), satellite, laboratory)
    fitted = rmse(made.generate(satellite.astype(np.float32)), laboratory)
    held_out = rmse(cross_generate(quick("ds"), satellite, laboratory), laboratory)
    honest = rmse(made.generate(new.astype(np.float32)), truth)
    assert held_out == pytest.approx(honest, rel=0.5)
    assert fitted < 0.6 * honest


# Bad input


def test_what_is_no_pair_is_refused() -> None:
    satellite, laboratory = pairs()
    gaps = satellite.copy()
    gaps[[3, 5], 7] = np.nan
    for near, far, code in (
        (satellite[:-1], laboratory, "GS-PAIRS-SHAPE"),
        (satellite[:, :-1], laboratory, "GS-PAIRS-SHAPE"),
        (satellite[0], laboratory[0], "GS-PAIRS-SHAPE"),
        (gaps, laboratory, "GS-PAIRS-GAPS"),
        (satellite, gaps, "GS-PAIRS-GAPS"),
        (satellite[:9], laboratory[:9], "GS-PAIRS-FEW"),
    ):
        with pytest.raises(InputError) as caught:
            fit_translator(quick("pds"), near, far)
        assert caught.value.code == code
    with pytest.raises(InputError, match="groups"):
        fit_translator(quick("pls"), satellite, laboratory, groups=np.zeros(3))
    with pytest.raises(InputError, match="40 bands"):
        fit_translator(quick("pds"), satellite, laboratory).generate(satellite[:, :-1].astype(np.float32))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "gan"},
        {"penalty": -1.0},
        {"kind": "glsw", "penalty": 0.0},
        {"dropout": 1.0},
        {"mmd": -1.0},
        {"mmd": 0.0, "sad": 0.0},
        {"epochs": 0},
        {"hidden": (0,)},
        {"widths": ()},
        {"output": "sigmoid", "base": "input"},
        {"output": "sigmoid", "seed_search": 5},
        {"kind": "autoencoder", "n_draws": 2},
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        FusionSettings(**changes)  # type: ignore[arg-type]
    assert caught.value.code == "GS-FUSION"


def test_a_search_for_seeds_needs_the_target() -> None:
    with pytest.raises(UsageError):
        fit_translator(quick("vae", seed_search=5), *pairs())


def test_a_damaged_file_is_refused() -> None:
    meta, arrays = fit_translator(quick("vae", n_draws=2), *pairs()).state()
    name = "0.encoder.1.weight"
    for kind, one, other in (
        ("gan", meta, arrays),
        ("vae", {**meta, "bands": 39}, arrays),
        ("vae", {**meta, "depth": "deep"}, arrays),
        ("vae", {**meta, "members": 2}, arrays),
        ("vae", meta, {key: value for key, value in arrays.items() if key != name}),
        ("vae", meta, {**arrays, name: arrays[name][:, :-1]}),
        ("vae", meta, {**arrays, name: np.full_like(arrays[name], np.nan)}),
        ("vae", meta, {**arrays, "draws": arrays["draws"][:, :-1]}),
        ("pds", meta, arrays),
    ):
        with pytest.raises(ModelError) as caught:
            restore_translator(kind, one, other)
        assert caught.value.code == "GS-MODEL-DAMAGED"
