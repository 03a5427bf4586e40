"""The bank: hard functions on inputs they take, and the surrogates that admit them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import hardgrad as hg

BATCH = 4
_CODEBOOK = torch.randn(7, 5, generator=torch.Generator().manual_seed(3))


@dataclass(frozen=True)
class Hard:
    """A hard function and the shape of one sample that it takes."""

    function: Callable[[Tensor], Tensor]
    sample: tuple[int, ...]


# The samplers get probabilities of 0 and 1 here, so that every law can ask for equality; test_hard.py tests their
# frequencies.
HARD: dict[str, Hard] = {
    "sign": Hard(lambda x: hg.hard.sign(x, margin=0.5), (6,)),
    "step": Hard(hg.hard.step, (6,)),
    "binarize": Hard(hg.hard.binarize, (6,)),
    "round": Hard(hg.hard.round, (6,)),
    "quantize": Hard(lambda x: hg.hard.quantize(x, levels=4, low=-1.0, high=1.0), (6,)),
    "one_hot_argmax": Hard(hg.hard.one_hot_argmax, (6,)),
    "top_k": Hard(lambda x: hg.hard.top_k(x, k=2), (6,)),
    "sort": Hard(hg.hard.sort, (6,)),
    "rank": Hard(hg.hard.rank, (6,)),
    "permutation": Hard(hg.hard.permutation, (5,)),
    "sort_rows_cols": Hard(hg.hard.sort_rows_cols, (3, 4)),
    "kmeans": Hard(lambda x: hg.hard.kmeans(x, k=3), (8, 2)),
    "nearest_code": Hard(lambda x: hg.hard.nearest_code(x, _CODEBOOK.to(x)), (3, 5)),
    "bernoulli": Hard(lambda x: hg.hard.bernoulli((x > 0).to(x.dtype)), (6,)),
    "categorical": Hard(lambda x: hg.hard.categorical(hg.hard.one_hot_argmax(x)), (6,)),
}


def _soft_permutation(x: Tensor) -> Tensor:
    return (-(x.sort(-1).values.unsqueeze(-1) - x.unsqueeze(-2)).abs()).softmax(-1)


# Soft twins: one surrogate derivative of each kind, and whole soft programs, shape-changing ones too.
SOFT: dict[str, Callable[[Tensor], Tensor]] = {
    "sign": hg.surrogate.twins.tanh(2.0),
    "step": hg.surrogate.twins.sigmoid(2.0),
    "bernoulli": hg.surrogate.twins.arctan(2.0),
    "round": hg.surrogate.twins.clipped(-2.0, 2.0),
    "one_hot_argmax": lambda x: x.softmax(-1),
    "permutation": _soft_permutation,
    "sort": lambda x: (_soft_permutation(x) @ x.unsqueeze(-1)).squeeze(-1),
}


@dataclass(frozen=True)
class Case:
    """One surrogate over one hard function."""

    surrogate: str
    hard: str

    @property
    def function(self) -> Callable[[Tensor], Tensor]:
        return HARD[self.hard].function

    def input(self, batch: int = BATCH, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
        return torch.randn(batch, *HARD[self.hard].sample, generator=torch.Generator().manual_seed(seed)).to(dtype)

    def layer(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        torch.manual_seed(1)
        if self.surrogate == "bridge":
            return hg.Bridge(self.function, hg.approximators.suggest(self.function, self.input(dtype=dtype)))
        return hg.straight_through(self.function, self.soft)

    @property
    def soft(self) -> Callable[[Tensor], Tensor] | None:
        return SOFT[self.hard] if self.surrogate == "soft twin" else None

    def model(self, dtype: torch.dtype = torch.float64) -> nn.Sequential:
        """The layer in the middle of a network that has weights on either side."""
        layer = self.layer(dtype)
        torch.manual_seed(2)
        width = HARD[self.hard].sample[-1]
        out = self.function(self.input(dtype=dtype))[0].numel()
        return nn.Sequential(nn.Linear(width, width), layer, nn.Flatten(), nn.Linear(out, 3)).to(dtype)

    def __str__(self) -> str:
        return f"{self.surrogate}-{self.hard}"


def _keeps_shape(name: str) -> bool:
    x = Case("bridge", name).input()
    return HARD[name].function(x).shape == x.shape


CASES = (
    [Case("bridge", name) for name in HARD]
    + [Case("identity twin", name) for name in HARD if _keeps_shape(name)]
    + [Case("soft twin", name) for name in SOFT]
)
