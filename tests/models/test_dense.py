"""Whole tiles equal patches, to the bit in every thread and order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from geosoil.models.cnn import PatchPredictor, Standard
from geosoil.models.nets import NetSpec, PatchNet


def random_predictor(
    patch: int, outputs: int, *, depth_input: bool, shared: int, members: int = 2, seed: int = 0
) -> PatchPredictor:
    """Networks with random weights and running statistics, a third of the batch norms' slopes negative."""
    spec = NetSpec(
        features=7, patch=patch, outputs=outputs, depth_input=depth_input, filters=(8, 12, 10), dense=(16, 9),
        embeddings=((2, 3, 2),),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    depths = np.array([2.5, 10.0, 80.0])
    ensemble = []
    for _ in range(members):
        nets: list[dict[str, torch.Tensor]] = []
        for place in range(1 if outputs > 1 else len(depths)):
            state = PatchNet(spec).state_dict()
            for name, value in state.items():
                if not value.is_floating_point():
                    continue
                group, _, rest = name.partition(".")
                kept = group in {"embed", "input_mean", "input_sd"} or (
                    group in {"convs", "norms"} and int(rest[0]) < shared
                )
                if place and shared and kept:
                    state[name] = nets[0][name]
                elif name.endswith(("running_var", "input_sd")):
                    state[name] = torch.rand(value.shape, generator=generator) + 0.1
                else:
                    state[name] = torch.randn(value.shape, generator=generator) * 0.4
            nets.append(state)
        ensemble.append(tuple(nets))
    standard = Standard.bare(np.array([3.0, 2.0, -1.0]), np.array([1.0, 0.5, 2.0]))
    return PatchPredictor(spec, tuple(ensemble), depths, standard, shared)


def cut(tile: np.ndarray, patch: int) -> np.ndarray:
    """Every patch of a tile."""
    windows = np.lib.stride_tricks.sliding_window_view(tile, (patch, patch), axis=(0, 1))
    return np.ascontiguousarray(windows.transpose(0, 1, 3, 4, 2)).reshape(-1, patch, patch, tile.shape[2])


@pytest.mark.parametrize("patch", [1, 3, 5, 7, 9, 11, 15, 21])
@pytest.mark.parametrize(
    ("outputs", "depth_input", "shared"), [(1, False, 0), (1, True, 2), (1, True, 3), (1, True, 0), (3, False, 0)]
)
def test_a_tile_gives_what_its_patches_give(patch: int, outputs: int, depth_input: bool, shared: int) -> None:
    predictor = random_predictor(patch, outputs, depth_input=depth_input, shared=shared)
    tile = np.random.default_rng(1).standard_normal((9 + patch - 1, 6 + patch - 1, 7)).astype(np.float32)
    dense = predictor.predict_tile(tile)
    naive = predictor.predict(cut(tile, patch)).T.reshape(3, 9, 6)
    assert dense.shape == (3, 9, 6)
    assert np.abs(dense - naive).max() <= 1e-5 * naive.std()


def test_every_cell_of_a_tile_depends_on_its_own_patch_alone() -> None:
    predictor = random_predictor(9, 1, depth_input=True, shared=2)
    tile = np.random.default_rng(2).random((28, 28, 7), np.float32)
    before = predictor.predict_tile(tile)
    tile[14, 14] += 1
    changed = np.argwhere((predictor.predict_tile(tile) != before).any(axis=0))
    # The cell (14, 14) of the tile is in the patches whose corners are at most eight cells above and left of it.
    assert changed.min() >= 14 - 8
    assert changed.max() <= 14
    assert [10, 10] in changed.tolist()


def test_threads_and_order_do_not_change_a_bit() -> None:
    predictor = random_predictor(9, 1, depth_input=True, shared=2)
    rng = np.random.default_rng(3)
    tiles = [rng.random((128 + 8, 128 + 8, 7), np.float32) for _ in range(4)]
    alone = [predictor.predict_tile(tile).tobytes() for tile in tiles]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda tile: predictor.predict_tile(tile).tobytes(), tiles[::-1] * 2))
    assert together == alone[::-1] * 2
