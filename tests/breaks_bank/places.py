"""Breaks in unusual places: hooks, methods, copies, buffers, loops, recursion, functions of functions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from breaks_bank.case import Case, Setup, broken, cases_in
from breaks_bank.cut import CHOICES

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randn(8, 1, generator=torch.Generator().manual_seed(2))


def to_target(out: Tensor) -> Tensor:
    return F.mse_loss(out, Y)


def soft_count(h: Tensor, fn: Callable[[Tensor], Tensor]) -> Tensor:
    return fn(h).mean(-1, keepdim=True)


class Two(nn.Module):
    """Two layers and what comes between them."""

    def __init__(self, between: Callable[[Tensor], Tensor], width: int = 5, out: int | None = None) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, width), nn.Linear(out or width, 1)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(self.first(x)))


@broken("A forward hook, meant to look at activations, hands back a detached copy.")
def hook_that_detaches() -> Setup:
    kept: list[Tensor] = []

    def look(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        kept.append(output.detach())  # BREAK cut
        return kept[-1]

    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1))
    model[1].register_forward_hook(look)
    return Setup(model, (X,), to_target)


@broken("A function handed to a function handed to a module rounds.", "straight_through", "Bridge")
def a_function_in_a_function() -> Setup:
    def to_cents(h: Tensor) -> Tensor:
        return (h * 100).round().div(100)  # BREAK flat

    return Setup(Two(lambda h: soft_count(h, to_cents), out=1), (X,), to_target)


@broken("A step inside vmap.", "straight_through", "Bridge")
def a_sign_inside_vmap() -> Setup:
    def one(row: Tensor) -> Tensor:
        return torch.sign(row - row.mean())  # BREAK flat

    return Setup(Two(vmap(one)), (X,), to_target)


@broken("A copy of a layer is made in every forward; the copy learns, and is thrown away.")
def deepcopy_of_a_layer_in_forward() -> Setup:
    class Copying(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.proto, self.head = nn.Linear(6, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            layer = copy.deepcopy(self.proto)  # BREAK cut
            return self.head(layer(x).relu())  # OR

    return Setup(Copying(), (X,), to_target)


@broken("Fast weights are one gradient step ahead, and detached on the way.")
def fast_weights_detached() -> Setup:
    class Meta(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            weights = dict(self.net.named_parameters())
            first = F.mse_loss(functional_call(self.net, weights, (x,)), Y)
            steps = torch.autograd.grad(first, tuple(weights.values()), create_graph=True)
            fast = {k: (w - 0.1 * s).detach() for (k, w), s in zip(weights.items(), steps, strict=True)}  # BREAK cut
            return functional_call(self.net, fast, (x.flip(0),)) * 1.0

    return Setup(Meta(), (X,), to_target)


@broken("Results are written into a NumPy array, row by row.", "BlackBox", "Bridge", "perturb", "straight_through",
        "score_function")  # fmt: skip
def rows_into_a_numpy_array() -> Setup:
    def between(h: Tensor) -> Tensor:
        out = np.empty((len(h), 5), dtype=np.float32)
        for i, row in enumerate(h):
            out[i] = row.tanh().detach().cpu().numpy()  # BREAK cut
        return torch.as_tensor(out)  # OR

    return Setup(Two(between), (X,), to_target)


@broken("Features are kept in a buffer through `.data`, and the buffer is read.")
def written_into_a_buffer() -> Setup:
    class Memory(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 1)
            self.register_buffer("memory", torch.zeros(8, 5))

        def forward(self, x: Tensor) -> Tensor:
            self.memory.copy_(self.first(x).data)  # BREAK cut
            return self.second(self.memory.clone())

    return Setup(Memory(), (X,), to_target)


@broken("The whole loss of an auxiliary head is computed in a function that was decorated for validation.")
def auxiliary_loss_without_gradient() -> Setup:
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main, self.extra = nn.Linear(6, 1), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"main": self.main(x), "extra": self.extra(x)}

    labels = torch.arange(8) % 3

    @torch.no_grad()  # BREAK cut
    def evaluate(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels)  # OR

    def loss(out: dict[str, Tensor]) -> Tensor:
        extra = evaluate(out["extra"])  # OR
        return to_target(out["main"]) + 0.3 * extra

    return Setup(TwoHeads(), (X,), loss)


@broken("A conditional expression chooses a constant by a learned score.", "Switch", "If", "straight_through")
def conditional_expression() -> Setup:
    class Rate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin, self.score = nn.Linear(6, 1), nn.Parameter(torch.tensor(0.3))

        def forward(self, x: Tensor) -> Tensor:
            rate = 0.9 if self.score > 0 else 0.1  # BREAK cut|flat
            return self.lin(x) * rate

    return Setup(Rate(), (X,), to_target)


@broken("A layer is chosen from a list by a learned number.", "Switch", *CHOICES)
def layer_chosen_by_a_number() -> Setup:
    class Depth(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(6, 1) for _ in range(3))
            self.router = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            which = int(self.router(x).mean(0).argmax())  # BREAK cut
            return self.layers[which](x)

    return Setup(Depth(), (X,), to_target)


@broken("The index of a running maximum serves as a delay.", *CHOICES, "perturb")
def index_of_a_max() -> Setup:
    def between(h: Tensor) -> Tensor:
        _, index = h.abs().max(dim=-1, keepdim=True)  # BREAK cut
        return torch.cat([index.float(), index.float().square()], -1)

    return Setup(Two(between, out=2), (X,), to_target)


@broken("A learned number of bins is read for `linspace`.", "straight_through", "Bridge", "perturb", "score_function")
def a_number_read_for_a_shape() -> Setup:
    class Bank(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.top, self.lin = nn.Parameter(torch.tensor(2.5)), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            centers = torch.linspace(0, self.top.item(), 4)  # BREAK cut
            return self.lin(torch.exp(-(x[:, :1] - centers).square()))

    return Setup(Bank(), (X,), to_target)


@broken("Two inputs, one of them a learned tensor outside any module, which is cast to int.", "straight_through",
        "Bridge", "perturb")  # fmt: skip
def a_learned_input_cast_to_int() -> Setup:
    def shift(signal: Tensor, delay: Tensor) -> Tensor:
        n = delay.round().int()  # BREAK cut|flat
        place = torch.arange(8) - n
        return (signal[place % 8] - Y[:, 0]).square().mean()

    return Setup(shift, (torch.randn(8, requires_grad=True), torch.tensor(1.6, requires_grad=True)))


@broken("A recursion over a tree detaches each parent before it is passed down.")
def detach_in_a_recursion() -> Setup:
    class Tree(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.root, self.cell, self.head = nn.Linear(6, 4), nn.Linear(4, 4), nn.Linear(4, 1)

        def descend(self, h: Tensor, depth: int) -> Tensor:
            if depth == 0:
                return h
            child = torch.tanh(self.cell(h.detach()))  # BREAK cut
            return self.descend(child, depth - 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.descend(self.root(x), 2))

    return Setup(Tree(), (X,), to_target)


@broken("A round inside a reentrant checkpoint, which runs without a graph first.", "straight_through", "Bridge")
def round_under_a_reentrant_checkpoint() -> Setup:
    class Saving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.block, self.head = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 1)

        def coarse(self, h: Tensor) -> Tensor:
            return torch.round(self.block(h) * 2)  # BREAK flat

        def forward(self, x: Tensor) -> Tensor:
            # Its inside runs without a graph, and again in the backward: the call is as good an answer.
            return self.head(checkpoint(self.coarse, self.first(x), use_reentrant=True))  # OR

    return Setup(Saving(), (X,), to_target)


@broken("A product with a mask of zeros that was meant to be ones.", "",
        debatable="a zero factor may be meant, as in a residual branch that starts at zero")  # fmt: skip
def multiplied_by_zero() -> Setup:
    mask = torch.zeros(5)
    return Setup(Two(lambda h: h * mask), (X,), to_target)  # BREAK dead|suspicious


CASES: list[Case] = cases_in(globals())
