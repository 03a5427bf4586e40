"""The bank: hard functions on inputs they take, and the surrogates that admit them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import hardgrad as hg
from place import DEVICE

Function = Callable[[Tensor], Tensor]

BATCH = 4
_CODEBOOK = torch.randn(7, 5, generator=torch.Generator().manual_seed(3))


@dataclass(frozen=True)
class Hard:
    """A hard function and the shape of one sample that it takes."""

    function: Callable[[Tensor], Tensor]
    sample: tuple[int, ...]


def _nearest_code(x: Tensor) -> Tensor:
    return hg.hard.nearest_code(x, _CODEBOOK.to(x))


def _bernoulli(x: Tensor) -> Tensor:
    return hg.hard.bernoulli((x > 0).to(x.dtype))


def _categorical(x: Tensor) -> Tensor:
    return hg.hard.categorical(hg.hard.one_hot_argmax(x))


# All pickle, so that what is built of them can be sent to another process. Some are plain, some partial, some functions
# of the user's own, which a layer trusts less. The samplers get probabilities of 0 and 1 here, so that every law can
# ask for equality; test_hard.py tests their frequencies.
HARD: dict[str, Hard] = {
    "sign": Hard(partial(hg.hard.sign, margin=0.5), (6,)),
    "step": Hard(hg.hard.step, (6,)),
    "binarize": Hard(hg.hard.binarize, (6,)),
    "round": Hard(hg.hard.round, (6,)),
    "quantize": Hard(partial(hg.hard.quantize, levels=4, low=-1.0, high=1.0), (6,)),
    "one_hot_argmax": Hard(hg.hard.one_hot_argmax, (6,)),
    "top_k": Hard(partial(hg.hard.top_k, k=2), (6,)),
    "top_k_mask": Hard(partial(hg.hard.top_k_mask, k=2), (6,)),
    "quantile": Hard(partial(hg.hard.quantile, q=0.3), (3, 6)),
    "sort": Hard(hg.hard.sort, (6,)),
    "rank": Hard(hg.hard.rank, (6,)),
    "permutation": Hard(hg.hard.permutation, (5,)),
    "sort_rows_cols": Hard(hg.hard.sort_rows_cols, (3, 4)),
    "kmeans": Hard(partial(hg.hard.kmeans, k=3, iterations=3), (8, 2)),  # a graph holds every iteration
    "nearest_code": Hard(_nearest_code, (3, 5)),
    "bernoulli": Hard(_bernoulli, (6,)),
    "categorical": Hard(_categorical, (6,)),
}


def _soft_permutation(x: Tensor) -> Tensor:
    return (-(x.sort(-1).values.unsqueeze(-1) - x.unsqueeze(-2)).abs()).softmax(-1)


# The step of perturb, exact in all dtypes; every coordinate is asked, so that nothing is random.
SCALE = 0.75

# Soft twins: one surrogate derivative of each kind, and whole soft programs, shape-changing ones too.
SOFT: dict[str, Callable[[Tensor], Tensor]] = {
    "sign": hg.surrogate.twins.tanh(2.0),
    "step": hg.surrogate.twins.sigmoid(2.0),
    "bernoulli": hg.surrogate.twins.arctan(2.0),
    "round": hg.surrogate.twins.clipped(-2.0, 2.0),
    "one_hot_argmax": partial(torch.softmax, dim=-1),
    "permutation": _soft_permutation,
    "sort": partial(hg.soft.sort, temperature=1.0),
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
        x = torch.randn(batch, *HARD[self.hard].sample, generator=torch.Generator().manual_seed(seed))
        return x.to(DEVICE, dtype)

    def layer(self, dtype: torch.dtype = torch.float64, hard: Function | None = None, **options: Any) -> nn.Module:
        """The surrogate over the function, or over ``hard`` in its place."""
        torch.manual_seed(1)
        if self.surrogate == "bridge":
            network = hg.approximators.suggest(self.function, self.input(dtype=dtype))
            # One layer of attention says as much as the two suggested, and is compiled in two thirds of the time.
            for place in [i for i, part in enumerate(network) if type(part).__name__ == "SelfAttention"][1:]:
                del network[place]
            return hg.Bridge(hard or self.function, network, **options)
        if self.surrogate == "two points":
            return hg.perturb(hard or self.function, SCALE, directions="coordinates", **options)
        return hg.straight_through(hard or self.function, options.pop("soft", self.soft), **options)

    @property
    def soft(self) -> Callable[[Tensor], Tensor] | None:
        return SOFT[self.hard] if self.surrogate == "soft twin" else None

    def model(self, dtype: torch.dtype = torch.float64) -> nn.Sequential:
        """The layer in the middle of a network that has weights on either side."""
        layer = self.layer(dtype)
        torch.manual_seed(2)
        width = HARD[self.hard].sample[-1]
        out = self.function(self.input(dtype=dtype))[0].numel()
        return nn.Sequential(nn.Linear(width, width), layer, nn.Flatten(), nn.Linear(out, 3)).to(DEVICE, dtype)

    def __str__(self) -> str:
        return f"{self.surrogate}-{self.hard}"


def _keeps_shape(name: str) -> bool:
    x = Case("bridge", name).input()
    return HARD[name].function(x).shape == x.shape


CASES = (
    [Case("bridge", name) for name in HARD]
    + [Case("identity twin", name) for name in HARD if _keeps_shape(name)]
    + [Case("soft twin", name) for name in SOFT]
    # Of x's shape, of another, the user's own; of few numbers, as a compiled graph holds f twice for each of them.
    + [Case("two points", name) for name in ("round", "top_k", "bernoulli")]
)
