"""Models of one torch.nn layer each between two linear ones, and torch's own losses: tables, since all obey one law."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from breaks_bank.case import Case, Setup

ROWS = torch.randn(6, 8, generator=torch.Generator().manual_seed(4))
LABELS = torch.arange(6) % 4

# Each takes 8 features of 6 rows and keeps the rows.
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "ReLU": nn.ReLU,
    "ReLU6": nn.ReLU6,
    "LeakyReLU": nn.LeakyReLU,
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
    "Mish": nn.Mish,
    "ELU": nn.ELU,
    "CELU": nn.CELU,
    "SELU": nn.SELU,
    "GLU": nn.GLU,
    "Softplus": nn.Softplus,
    "Softsign": nn.Softsign,
    "Hardtanh": nn.Hardtanh,
    "Hardsigmoid": nn.Hardsigmoid,
    "Hardshrink": nn.Hardshrink,
    "Softshrink": partial(nn.Softshrink, 0.1),
    "Tanhshrink": nn.Tanhshrink,
    "Threshold": partial(nn.Threshold, 0.1, 0.0),
    "RReLU": nn.RReLU,
    "PReLU": nn.PReLU,
    "LogSigmoid": nn.LogSigmoid,
    "Softmax": partial(nn.Softmax, -1),
    "Softmin": partial(nn.Softmin, -1),
    "LogSoftmax": partial(nn.LogSoftmax, -1),
    "Dropout": nn.Dropout,
    "AlphaDropout": nn.AlphaDropout,
    "BatchNorm1d": partial(nn.BatchNorm1d, 8),
    "LayerNorm": partial(nn.LayerNorm, 8),
    "GroupNorm": partial(nn.GroupNorm, 2, 8),
    "RMSNorm": partial(nn.RMSNorm, 8),
    "Identity": nn.Identity,
    "Bilinear": lambda: _Squared(nn.Bilinear(8, 8, 8)),
    "Conv1d": lambda: _As((1, 8), nn.Conv1d(1, 2, 3)),
    "Conv2d": lambda: _As((2, 2, 2), nn.Conv2d(2, 3, 2)),
    "ConvTranspose1d": lambda: _As((2, 4), nn.ConvTranspose1d(2, 1, 3)),
    "MaxPool1d": lambda: _As((1, 8), nn.MaxPool1d(2)),
    "AdaptiveMaxPool1d": lambda: _As((1, 8), nn.AdaptiveMaxPool1d(3)),
    "AvgPool1d": lambda: _As((1, 8), nn.AvgPool1d(2)),
    "LPPool1d": lambda: _As((1, 8), nn.LPPool1d(2.0, 2)),
    "FractionalMaxPool2d": lambda: _As((2, 2, 2), nn.FractionalMaxPool2d(2, output_size=1)),
    "PixelShuffle": lambda: _As((4, 1, 2), nn.PixelShuffle(2)),
    "Upsample": lambda: _As((1, 8), nn.Upsample(scale_factor=2, mode="linear")),
    "ReflectionPad1d": lambda: _As((1, 8), nn.ReflectionPad1d(2)),
    "Unfold": lambda: _As((2, 2, 2), nn.Unfold(2)),
    "RNN": lambda: _First(nn.RNN(8, 4)),
    "GRU": lambda: _First(nn.GRU(8, 4)),
    "LSTM": lambda: _First(nn.LSTM(8, 4)),
    "MultiheadAttention": lambda: _Attend(nn.MultiheadAttention(8, 2)),
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(8, 2, 16),
    "weight_norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)),
    "spectral_norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)),
}

_ones = torch.where(torch.arange(6) % 2 == 0, 1.0, -1.0)
_unit = torch.rand(6, 4, generator=torch.Generator().manual_seed(5))
_normal = torch.randn(6, 4, generator=torch.Generator().manual_seed(6))
LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "mse_loss": lambda y: F.mse_loss(y, _normal),
    "l1_loss": lambda y: F.l1_loss(y, _normal),
    "smooth_l1_loss": lambda y: F.smooth_l1_loss(y, _normal, beta=0.5),
    "huber_loss": lambda y: F.huber_loss(y, _normal),
    "cross_entropy": lambda y: F.cross_entropy(y, LABELS),
    "cross_entropy smoothed": lambda y: F.cross_entropy(y, LABELS, torch.ones(4), label_smoothing=0.1),
    "cross_entropy of shares": lambda y: F.cross_entropy(y, _unit.softmax(-1)),
    "nll_loss": lambda y: F.nll_loss(y.log_softmax(-1), LABELS),
    "binary_cross_entropy": lambda y: F.binary_cross_entropy(y.sigmoid(), _unit.round()),
    "binary_cross_entropy_with_logits": lambda y: F.binary_cross_entropy_with_logits(y, _unit.round()),
    "kl_div": lambda y: F.kl_div(y.log_softmax(-1), _unit.softmax(-1), reduction="batchmean"),
    "poisson_nll_loss": lambda y: F.poisson_nll_loss(y, _unit),
    "gaussian_nll_loss": lambda y: F.gaussian_nll_loss(y[:, :2], _normal[:, :2], y[:, 2:].exp()),
    "soft_margin_loss": lambda y: F.soft_margin_loss(y[:, 0], _ones),
    "hinge_embedding_loss": lambda y: F.hinge_embedding_loss(y[:, 0], _ones),
    "margin_ranking_loss": lambda y: F.margin_ranking_loss(y[:, 0], y[:, 1], _ones, margin=0.2),
    "multi_margin_loss": lambda y: F.multi_margin_loss(y, LABELS),
    "multilabel_margin_loss": lambda y: F.multilabel_margin_loss(y, torch.tensor([[0, 2, -1, -1]] * 6)),
    "multilabel_soft_margin_loss": lambda y: F.multilabel_soft_margin_loss(y, _unit.round()),
    "cosine_embedding_loss": lambda y: F.cosine_embedding_loss(y, _normal, _ones),
    "triplet_margin_loss": lambda y: F.triplet_margin_loss(y[:2], y[2:4], y[4:]),
    "ctc_loss": lambda y: F.ctc_loss(
        y.view(6, 1, 4).log_softmax(-1), torch.tensor([[1, 2]]), torch.tensor([6]), torch.tensor([2])
    ),
    "pairwise_distance": lambda y: F.pairwise_distance(y, _normal).mean(),
    "AdaptiveLogSoftmaxWithLoss": lambda y: _adaptive(y),
}


class _As(nn.Module):
    """A layer for rows of another shape."""

    def __init__(self, shape: tuple[int, ...], layer: nn.Module) -> None:
        super().__init__()
        self.shape, self.layer = shape, layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.unflatten(1, self.shape)).flatten(1)


class _First(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


class _Squared(_First):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, x)


class _Attend(_First):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, x, x)[0]


def _adaptive(y: Tensor) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.AdaptiveLogSoftmaxWithLoss(4, 6, [2, 4], div_value=1.0)
    return layer(y, LABELS).loss


def _with_layer(name: str) -> Setup:
    layer = LAYERS[name]()
    before, after = nn.Linear(8, 8), nn.LazyLinear(4)
    model = nn.Sequential(before, layer, after)
    with torch.no_grad():
        model(ROWS)
    return Setup(model, (ROWS,), lambda y: F.cross_entropy(y, LABELS))


def _with_loss(name: str) -> Setup:
    return Setup(nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4)), (ROWS,), LOSSES[name])


CASES: list[Case] = [
    *(Case(f"nn.{name}", partial(_with_layer, name), file=__file__, whole=False) for name in LAYERS),
    *(Case(f"F.{name}", partial(_with_loss, name), file=__file__, whole=False) for name in LOSSES),
]
