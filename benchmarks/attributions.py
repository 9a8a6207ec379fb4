"""SHAP values of a 1D residual network by expected gradients against shap.GradientExplainer, in one run.

    python benchmarks/attributions.py                # 1,000 background x 1,000 samples x 2,100 bands, 200 draws
    python benchmarks/attributions.py --quick        # a second or so, as the test suite runs it

Both sides explain the same trained-shape network (He et al. 2025) on the same spectra with as many points a sample, on
all cores: `shap` with as many threads as PyTorch takes by itself, ours with one thread a core. First both are given the
same points, where they have to give the same values; then, on points of their own, their mean |SHAP| along wavelength
and their gap are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from typing import Any

import numpy as np
import shap
import torch
from numpy.typing import NDArray
from torch import nn

from geosoil.models.attributions import expected_gradients
from geosoil.models.gradients import resnet_layer
from geosoil.models.resnet import ResNet1D, ResNetSpec


def made_network(bands: int) -> ResNet1D:
    """A network whose batch norms have seen something, which takes spectra as they are; speed does not depend on it."""
    torch.manual_seed(0)
    net = ResNet1D(ResNetSpec(bands))
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.get_buffer("running_mean").normal_(0, 0.3)
                module.get_buffer("running_var").uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
    return net.eval()


def made_spectra(count: int, bands: int, seed: int) -> NDArray[np.float32]:
    """Log reflectance of smooth spectra."""
    rng = np.random.default_rng(seed)
    place = np.linspace(0, 1, bands)
    shapes = np.sin(np.outer(np.arange(1, 9), place) * np.pi)
    reflectance = 0.3 + 0.02 * rng.standard_normal((count, 8)) @ shapes + 0.05 * rng.standard_normal((count, 1))
    return np.log(np.clip(reflectance, 0.02, 1)).astype(np.float32)


def shap_points(samples: int, background: int, draws: int, seed: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """The rows and shares that GradientExplainer draws with a seed."""
    np.random.seed(seed)  # noqa: NPY002 - that is what it draws from
    found = []
    for _ in range(samples):
        both = [(np.random.choice(background), np.random.uniform()) for _ in range(draws)]  # noqa: NPY002
        rows, shares = zip(*both, strict=True)
        found.append((np.array(rows), np.array(shares)))
    return found


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")
    bands = 300 if quick else 2100
    background, samples, draws = (20, 4, 20) if quick else (1000, 1000, 200)
    net, cores = made_network(bands), os.cpu_count() or 1
    far, near = made_spectra(background, bands, 1), made_spectra(samples, bands, 2)
    net.standardise(torch.from_numpy(far))
    explainer = shap.GradientExplainer(net, torch.from_numpy(far))
    layer = resnet_layer(net)

    few = min(samples, 8)
    points = shap_points(few, background, draws, 7)
    theirs = explainer.shap_values(torch.from_numpy(near[:few]), nsamples=draws, rseed=7)[..., 0]
    ours = expected_gradients(layer, near[:few], far, draws=draws, points=points.__getitem__)
    # Where a point lies on a kink to the last digit, the two sides may fall on different sides of it.
    same = float(np.sqrt(np.mean((ours.values - theirs) ** 2) / np.mean(theirs**2)))
    assert same < 1e-3, same

    torch.set_num_threads(cores)
    start = time.perf_counter()
    values = explainer.shap_values(torch.from_numpy(near), nsamples=draws, rseed=1)[..., 0]
    slow = time.perf_counter() - start
    start = time.perf_counter()
    found = expected_gradients(layer, near, far, draws=draws, seed=1)
    fast = time.perf_counter() - start

    mean_theirs, mean_ours = np.abs(values).mean(0), np.abs(found.values).mean(0)
    gap = found.output - found.base - values.sum(1)
    result = {
        "cores": cores,
        "bands": bands,
        "background": background,
        "samples": samples,
        "draws": draws,
        "gradient_explainer_s": round(slow, 2),
        "geosoil_s": round(fast, 2),
        "ratio": round(slow / fast, 2),
        "difference_on_the_same_points": same,
        "correlation_of_mean_absolute_values": float(np.corrcoef(mean_theirs, mean_ours)[0, 1]),
        "gap_share": {
            "gradient_explainer": float(np.sqrt(np.mean(gap**2)) / found.output.std()),
            "geosoil": found.gap_share,
        },
        "scatter": found.scatter,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
