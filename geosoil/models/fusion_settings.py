"""How satellite spectra are made laboratory-like: every choice, published or ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from geosoil.errors import UsageError

__all__ = ["KINDS", "LINEAR_KINDS", "MOVES_BOTH", "FusionSettings"]

KINDS = ("ridge", "none", "ds", "pds", "epo", "glsw", "pls", "autoencoder", "vae", "vae-residual")
#: Those that are a matrix and an offset.
LINEAR_KINDS = frozenset(("ridge", "none", "ds", "pds", "epo", "glsw", "pls"))
#: Those that move laboratory spectra too, so that a model reads them moved.
MOVES_BOTH = frozenset(("epo", "glsw"))


@dataclass(frozen=True, slots=True)
class FusionSettings:
    """How satellite spectra are made laboratory-like.

    The default is the linear map that shrinks what the pairs do not bear out; on real pairs no network did better by
    more than the spread over repeats. The defaults of the networks are those of Ou et al.'s variational auto-encoder,
    with their slips put right; `FusionSettings.of` gives what suits a kind.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    penalty : float, optional
        Of ``ridge``; None: the one that reproduces left-out laboratory spectra best. See `standardise.shrunken`. Of
        ``glsw``; None: 0.01. See `standardise.weighted`.
    components : int, optional
        Of ``pds`` (each window's PLS), ``epo`` (directions removed) and ``pls``; None: 2, 2, and the count that
        reproduces held-out laboratory spectra best.
    window : int
        Bands on each side that ``pds`` takes.
    hidden, latent, dropout
        Widths of the encoder (the decoder mirrors them), number of latent values, share dropped.
    mmd, sad, kld, mse : float
        Weights of the losses: discrepancy of the distributions, spectral angle, divergence from the prior, squared
        error in units of the laboratory bands' variances.
    unbiased : bool
        The estimate of the discrepancy that leaves the diagonals out.
    widths : tuple of float
        Kernel variances, in units of the median squared distance.
    convention : "corrected" or "published"
        The paper draws with the latent output as log-SD, takes it as log-variance in the divergence, and leaves out the
        factor 1/2 there.
    base : "none", "input" or "linear"
        What the network's output is added to: nothing, the satellite spectrum, or its map by ``ridge``.
    scale_output : bool
        Whether the network gives standardised spectra, which are scaled back; else it gives them in their own unit.
    output : "linear" or "sigmoid"
        The last activation; a sigmoid suits reflectance and nothing else, and goes without base and scaling.
    learning_rate, epochs, batch, clip
        Of Adam; gradients are clipped to the norm `clip`.
    steps : int, optional
        Most batches that are learned from: where there are many pairs, epochs are fewer.
    noise : float
        SD of the noise that is added to the standardised input in training.
    members : int
        Networks with different seeds, whose outputs are averaged.
    n_draws : int
        0: the latent mean is decoded. Else so many draws of the latent values are, and averaged. A draw's noise is the
        same for every spectrum, so that a pixel does not depend on its neighbours.
    seed_search : int
        So many draws are tried, and the three whose spectra correlate best with the target are averaged and smoothed,
        as published. Needs the target. Correlations found this way are **optimistic**: with 61 samples noise alone
        reaches 0.48. For comparison only.
    """

    kind: str = "ridge"
    penalty: float | None = None
    components: int | None = None
    window: int = 5
    hidden: tuple[int, ...] = (256, 128, 64)
    latent: int = 16
    dropout: float = 0.4
    mmd: float = 1.0
    sad: float = 0.1
    kld: float = 1.0
    mse: float = 0.0
    unbiased: bool = False
    widths: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    convention: Literal["corrected", "published"] = "corrected"
    base: Literal["none", "input", "linear"] = "none"
    scale_output: bool = False
    output: Literal["linear", "sigmoid"] = "linear"
    learning_rate: float = 1e-4
    epochs: int = 100
    batch: int = 32
    clip: float = 1.0
    steps: int | None = None
    noise: float = 0.0
    members: int = 1
    n_draws: int = 0
    seed_search: int = 0

    def __post_init__(self) -> None:
        wrong = _wrong(self)
        if wrong:
            raise UsageError(f"the fusion cannot be fitted: {wrong}", code="GS-FUSION")

    @classmethod
    def of(cls, kind: str, **changes: Any) -> Self:
        """The settings that suit a kind, some of them changed.

        ``vae`` is as published, its slips put right. ``vae-residual`` is what works of it: a small network that adds to
        the ridge regression what a linear map leaves, trained by the squared error on noisy input. ``autoencoder`` is
        the same network on its own, without a distribution of the latent values.

        >>> FusionSettings.of("autoencoder").mse, FusionSettings.of("vae", epochs=300).epochs
        (1.0, 300)
        >>> FusionSettings.of("vae-residual").base
        'linear'
        """
        own: dict[str, Any] = {}
        if kind in {"autoencoder", "vae-residual"}:
            own = {
                "hidden": (64,), "dropout": 0.0, "mmd": 0.0, "sad": 0.0, "kld": 0.0, "mse": 1.0, "scale_output": True,
                "learning_rate": 3e-3, "epochs": 150, "steps": 1000, "noise": 0.3,
            }  # fmt: skip
        if kind == "vae-residual":
            own |= {"kld": 1e-4, "base": "linear"}
        return cls(**{"kind": kind, **own, **changes})


def _wrong(settings: FusionSettings) -> str:
    """What does not go together, or an empty text."""
    checks = {
        f"kind {settings.kind!r} is none of {', '.join(KINDS)}": settings.kind not in KINDS,
        "penalty must be 0 or more": settings.penalty is not None and not 0 <= settings.penalty < float("inf"),
        "the penalty of glsw must be above 0": settings.kind == "glsw" and settings.penalty == 0,
        "components must be 1 or more": settings.components is not None and settings.components < 1,
        "window must be 1 or more": settings.window < 1,
        "widths of layers must be 1 or more": min((*settings.hidden, settings.latent)) < 1,
        "dropout must be in [0, 1)": not 0 <= settings.dropout < 1,
        "weights of losses must be 0 or more": min(settings.mmd, settings.sad, settings.kld, settings.mse) < 0,
        "one of mmd, sad and mse must be above 0": max(settings.mmd, settings.sad, settings.mse) <= 0,
        "kernel widths must be above 0": not settings.widths or min(settings.widths) <= 0,
        "epochs, batch and members must be 1 or more": min(settings.epochs, settings.batch, settings.members) < 1,
        "steps must be 1 or more": settings.steps is not None and settings.steps < 1,
        "learning_rate and clip must be above 0": min(settings.learning_rate, settings.clip) <= 0,
        "noise, n_draws and seed_search must be 0 or more": min(settings.noise, settings.n_draws, settings.seed_search)
        < 0,
        "a sigmoid output goes without base and scale_output": settings.output == "sigmoid"
        and (settings.base != "none" or settings.scale_output),
        "a search for seeds smooths, which a sigmoid output does not take": settings.output == "sigmoid"
        and settings.seed_search > 0,
        "an auto-encoder draws nothing": settings.kind == "autoencoder"
        and (settings.n_draws > 0 or settings.seed_search > 0),
    }
    return next((text for text, holds in checks.items() if holds), "")
