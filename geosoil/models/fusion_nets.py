"""Networks that turn one spectrum into another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from geosoil.models.fusion_layers import Activation, Dense

__all__ = ["SpectrumNet", "dense_of"]


class SpectrumNet(nn.Module):
    """Encoder and decoder of dense layers with ReLU and dropout; variational or plain.

    Takes standardised spectra ``(n, p)``; gives the generated spectra ``(n, p)``, and the mean and log-variance of the
    latent values ``(n, latent)``. With `log_sd` the second head is drawn with as a log-SD.
    """

    def __init__(
        self,
        bands: int,
        hidden: Sequence[int],
        latent: int,
        dropout: float,
        *,
        variational: bool,
        sigmoid: bool = False,
        log_sd: bool = False,
    ) -> None:
        super().__init__()
        self.power = 1.0 if log_sd else 0.5
        self.encoder = nn.ModuleList(_linears([bands, *hidden]))
        self.mean = nn.Linear(hidden[-1] if hidden else bands, latent)
        self.spread = nn.Linear(hidden[-1] if hidden else bands, latent) if variational else None
        self.decoder = nn.ModuleList(_linears([latent, *reversed(hidden), bands]))
        self.drop = nn.Dropout(dropout)
        self.sigmoid = sigmoid

    def encode(self, spectra: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean and, of a variational network, log-variance of the latent values."""
        for layer in self.encoder:
            spectra = self.drop(torch.relu(layer(spectra)))
        return self.mean(spectra), None if self.spread is None else self.spread(spectra)

    def decode(self, latent: Tensor) -> Tensor:
        """Latent values to spectra."""
        for layer in list(self.decoder)[:-1]:
            latent = self.drop(torch.relu(layer(latent)))
        found: Tensor = self.decoder[-1](latent)
        return torch.sigmoid(found) if self.sigmoid else found

    def forward(self, spectra: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Generated spectra, latent mean, latent log-variance; `noise` is what the latent spread is multiplied by."""
        mean, spread = self.encode(spectra)
        latent = mean if noise is None or spread is None else mean + (self.power * spread).exp() * noise
        return self.decode(latent), mean, spread


def _linears(widths: Sequence[int]) -> Iterator[nn.Linear]:
    for inner, outer in pairwise(widths):
        yield nn.Linear(inner, outer)


def dense_of(layer: nn.Module, activation: Activation = "linear") -> Dense:
    """A torch layer as arrays."""
    weight, bias = (
        tensor.detach().cpu().numpy().astype(np.float32)
        for tensor in (layer.get_parameter("weight"), layer.get_parameter("bias"))
    )
    return Dense(weight, bias, activation)
