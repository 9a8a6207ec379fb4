"""Networks on a device give what they give in the ordinary way, from many threads; on a GPU where there is one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from geosoil.errors import ResourceError
from geosoil.models.device import OnDevice, find_device

from .test_dense import random_predictor

DEVICES = [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]
EDGE = 40


def blocks(patch: int, count: int = 1) -> list[np.ndarray]:
    """Blocks of features with their halo."""
    rng = np.random.default_rng(patch)
    edge = EDGE + patch - 1
    return [rng.random((edge, edge, 7), np.float32) for _ in range(count)]


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize(("patch", "outputs", "shared"), [(1, 1, 0), (9, 1, 2), (9, 3, 0), (15, 1, 3)])
def test_a_block_is_predicted_as_in_the_ordinary_way(
    patch: int, outputs: int, shared: int, device: torch.device
) -> None:
    plain = random_predictor(patch, outputs, depth_input=outputs == 1, shared=shared)
    moved = OnDevice.of(plain, device)
    (block,) = blocks(patch)
    expected = plain.predict_tile(block)
    found = moved.predict_tile(block)
    assert found.shape == (3, EDGE, EDGE)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert (moved.patch, moved.targets, moved.kind) == (plain.patch, plain.targets, plain.kind)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_half_precision_is_near_and_keeps_the_scale_of_the_values(device: torch.device) -> None:
    plain = random_predictor(5, 1, depth_input=True, shared=0)
    (block,) = blocks(5)
    expected = plain.predict_tile(block)
    found = OnDevice.of(plain, device, half=True).predict_tile(block)
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert 0 < error < 5e-3
    # The last layers are exact: values are not of the few that half precision has.
    assert (found != found.astype(np.float16)).mean() > 0.9


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_threads_do_not_mix_their_blocks(device: torch.device) -> None:
    moved = OnDevice.of(random_predictor(5, 1, depth_input=True, shared=2), device)
    many = blocks(5, 12)
    alone = [moved.predict_tile(block) for block in many]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(moved.predict_tile, many))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    # What was given back is not written over by the next block.
    assert not np.array_equal(together[0], together[1])


def test_a_block_of_another_shape_gets_memory_of_its_own() -> None:
    plain = random_predictor(3, 1, depth_input=False, shared=0)
    moved = OnDevice.of(plain, torch.device("cpu"))
    for height, width in ((10, 8), (4, 9), (10, 8)):
        block = np.random.default_rng(height).random((height + 2, width + 2, 7), np.float32)
        np.testing.assert_allclose(moved.predict_tile(block), plain.predict_tile(block), rtol=1e-5, atol=1e-5)


def test_a_moved_predictor_is_saved_as_it_was() -> None:
    plain = random_predictor(3, 1, depth_input=True, shared=2)
    meta, arrays = OnDevice.of(plain, torch.device("cpu"), half=True).state()
    expected_meta, expected = plain.state()
    assert meta == expected_meta
    assert arrays.keys() == expected.keys()
    assert all(np.array_equal(arrays[name], expected[name]) for name in expected)
    (block,) = blocks(3)
    again = OnDevice.restore(meta, arrays)
    np.testing.assert_allclose(again.predict_tile(block), plain.predict_tile(block), rtol=1e-5, atol=1e-5)


def test_auto_takes_what_is_there_and_cuda_is_refused_where_it_is_not() -> None:
    device, name = find_device("auto")
    assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert bool(name) == torch.cuda.is_available()
    if torch.cuda.is_available():
        assert find_device("cuda") == (device, name)
    else:
        with pytest.raises(ResourceError) as caught:
            find_device("cuda")
        assert (caught.value.code, caught.value.exit_code) == ("GS-DEVICE", 6)
