"""The training loop: repeatable, stops early, keeps the best, goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from geosoil.errors import ModelError, ResourceError
from geosoil.models.loop import Fit, Part, Schedule, device_of, train_network


def problem(noise: float = 0.1, n: int = 160) -> tuple[Part, Part]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(n, 3, generator=generator)
    y = (x[:, :1] - 0.5 * x[:, 1:2]) + noise * torch.randn(n, 1, generator=generator)
    ones = torch.ones_like(y)
    whole = Part((x,), y, ones)
    rows = torch.arange(n)
    return whole.take(rows[: n // 2]), whole.take(rows[n // 2 :])


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Linear(16, 1))


def run(epochs: int = 60, patience: int = 60, rate: float = 1e-2, path: Path | None = None) -> tuple[nn.Module, Fit]:
    net = network()
    schedule = Schedule(epochs, patience, batch=16, learning_rate=rate)
    return net, train_network(net, net, *problem(), schedule, seed=3, checkpoint=path)


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_it_learns_what_is_known() -> None:
    _, fit = run()
    assert fit.best < 0.1  # of a variance of 1.25; the noise alone is 0.01


def test_one_seed_gives_one_network_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first, _ = run(20)
    assert torch.equal(torch.rand(3), expected)
    second, _ = run(20)
    assert same(first, second)


def test_the_best_epoch_is_kept_not_the_last() -> None:
    net, fit = run(epochs=60, rate=0.3)
    assert fit.best_epoch < len(fit.validation) - 1
    assert fit.best == min(fit.validation)
    part = problem()[1]
    with torch.inference_mode():
        error = float(((net(*part.inputs) - part.target) ** 2).mean())
    assert error == pytest.approx(fit.best, rel=1e-5)


def test_it_stops_when_the_validation_part_no_longer_gains() -> None:
    _, fit = run(epochs=500, patience=5, rate=0.05)
    assert len(fit.validation) == fit.best_epoch + 1 + 5


@pytest.mark.parametrize("epochs", [25, 47])
def test_a_stopped_training_goes_on_to_the_same_end(epochs: int, tmp_path: Path) -> None:
    undisturbed, whole = run(60)
    path = tmp_path / "state.safetensors"

    class Stopped(Exception):  # noqa: N818
        pass

    def stop(done: int, total: int, message: str) -> None:
        if done == epochs:
            raise Stopped

    net = network()
    schedule = Schedule(60, 60, batch=16, learning_rate=1e-2)
    with pytest.raises(Stopped):
        train_network(net, net, *problem(), schedule, seed=3, checkpoint=path, progress=stop)
    assert path.exists()
    resumed, fit = run(60, path=path)
    assert same(undisturbed, resumed)
    assert fit.validation == whole.validation
    calls: list[int] = []
    net = network()
    train_network(net, net, *problem(), schedule, seed=3, checkpoint=path, progress=lambda *one: calls.append(one[0]))
    assert same(undisturbed, net)
    assert calls == [60], "a training that had ended was repeated"


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="checkpoint state") as caught:
        run(path=path)
    assert caught.value.code == "GS-CHECKPOINT"


def test_a_loss_that_is_not_finite_is_an_error_with_advice() -> None:
    train, held = problem()
    broken = Part((train.inputs[0] * float("inf"),), train.target, train.weight)
    net = network()
    with pytest.raises(ModelError, match="not finite in epoch 1") as caught:
        train_network(net, net, broken, held, Schedule(5, 5, 16), seed=0)
    assert "learning rate" in caught.value.hint


def test_frozen_parameters_and_statistics_stay() -> None:
    net = network()
    norm = net[2]
    assert isinstance(norm, nn.BatchNorm1d)
    for module in (net[0], norm):
        module.requires_grad_(requires_grad=False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    train_network(net, net, *problem(), Schedule(5, 5, 16, 1e-2), seed=0, frozen=[net[0], norm])
    after = net.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"4.weight", "4.bias"}


def test_what_was_not_observed_does_not_count() -> None:
    train, held = problem()
    weight = torch.ones_like(train.target)
    weight[::2] = 0
    nonsense = torch.where(weight > 0, train.target, torch.full_like(train.target, 1e6))
    found: list[Tensor] = []
    for target in (train.target, nonsense):
        net = network()
        train_network(net, net, Part(train.inputs, target, weight), held, Schedule(5, 5, 16), seed=0)
        found.append(net(held.inputs[0]).detach())
    assert torch.equal(*found)


def test_a_missing_device_is_an_error() -> None:
    assert device_of("cpu").type == "cpu"
    if torch.cuda.is_available():
        assert device_of("cuda").type == "cuda"
    else:
        with pytest.raises(ResourceError, match="cuda"):
            device_of("cuda")
