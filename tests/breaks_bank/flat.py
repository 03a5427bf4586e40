"""Steps and comparisons: a value goes on, a slope of zero comes back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from breaks_bank.case import Case, Setup, broken, cases_in

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randn(8, 1, generator=torch.Generator().manual_seed(2))


def to_target(out: Tensor) -> Tensor:
    return F.mse_loss(out, Y)


def fixed_point(h: Tensor) -> Tensor:
    scaled = h * 16
    return torch.round(scaled) / 16  # BREAK flat


class Apply(nn.Module):
    """A function as a layer."""

    def __init__(self, fn: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(x)


@broken("Binary activations: a sign between two layers, and the first never learns.", "straight_through", "Bridge")
def sign_between_two_layers() -> Setup:
    class Binary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 5)
            self.second = nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.tanh(self.first(x))
            h = torch.sign(h)  # BREAK flat
            return self.second(h)

    return Setup(Binary(), (X,), to_target)


@broken("Activations rounded to a fixed-point grid by a helper in another function.", "straight_through", "Bridge",
        helpers=(fixed_point,))  # fmt: skip
def round_in_a_helper() -> Setup:
    class Quantized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(fixed_point(self.first(x).relu()))

    return Setup(Quantized(), (X,), to_target)


@broken("A lambda in a Sequential snaps features to whole steps.", "straight_through", "Bridge")
def floor_in_a_lambda() -> Setup:
    model = nn.Sequential(
        nn.Linear(6, 5),
        Apply(lambda h: torch.floor(h * 3)),  # BREAK flat
        nn.Linear(5, 1),
    )
    return Setup(model, (X,), to_target)


@broken("A number of repeats is a length rounded up, two modules deep.", "straight_through", "Bridge")
def ceil_two_modules_deep() -> Setup:
    class Duration(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.log_length = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.log_length(x).exp().ceil()  # BREAK flat

    class Speech(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stack = nn.Sequential(nn.Sequential(nn.Linear(6, 6), nn.Tanh(), Duration()), nn.Linear(4, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.stack(x)

    return Setup(Speech(), (X,), to_target)


@broken("The loss compares whole numbers, so it truncates the prediction first.", "straight_through", "Bridge")
def trunc_in_the_loss() -> Setup:
    def loss(out: Tensor) -> Tensor:
        whole = torch.trunc(out * 10)  # BREAK flat
        return (whole - Y * 10).square().mean()

    return Setup(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1)), (X,), loss)


@broken("A spiking neuron: the membrane's step has no slope, so the weights before it stand still.", "straight_through")
def spikes_over_time() -> Setup:
    class Neuron(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.out = nn.Linear(6, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            membrane = torch.zeros(len(x), 5)
            count = torch.zeros(len(x), 5)
            for _ in range(3):
                membrane = 0.8 * membrane + self.into(x)
                spike = (membrane > 0.5).float()  # BREAK flat
                membrane = membrane - spike * 0.5
                count = count + spike
            return self.out(count)

    return Setup(Neuron(), (X,), to_target)


@broken("`heaviside` has no derivative in torch: the backward raises, and names no line.", "straight_through", "Bridge")
def heaviside_raises_in_the_backward() -> Setup:
    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            h = torch.heaviside(h, torch.zeros(()))  # BREAK flat|cut
            return self.second(h)

    return Setup(Step(), (X,), to_target)


@broken("A gate that is open or closed: `> 0` made a float.", "straight_through", "Switch", "Bridge")
def gate_by_comparison() -> Setup:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.value = nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            is_open = (self.gate(x) > 0).float()  # BREAK flat
            return (is_open * self.value(x)).sum(-1, keepdim=True)

    return Setup(Gated(), (X,), to_target)


@broken("A learned threshold decides which features pass; it is on the wrong side of `>`.", "straight_through",
        "LearnedRanges", "Bridge")  # fmt: skip
def learned_threshold_behind_a_comparison() -> Setup:
    class Shrink(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lift, self.head = nn.Linear(6, 5), nn.Linear(5, 1)
            self.threshold = nn.Parameter(torch.full((5,), 0.1))

        def forward(self, x: Tensor) -> Tensor:
            h = self.lift(x)
            keep = h.abs() > self.threshold  # BREAK flat
            return self.head(h * keep)

    return Setup(Shrink(), (X,), to_target)


@broken("A level is looked up in bins; the table learns, the level does not.", "LearnedRanges", "straight_through",
        "RangeEmbedding", "Ranges", "Bridge")  # fmt: skip
def bucketize_then_embedding() -> Setup:
    class Leveled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.level, self.table = nn.Linear(6, 1), nn.Embedding(4, 3)
            self.register_buffer("edges", torch.tensor([-0.5, 0.0, 0.5]))

        def forward(self, x: Tensor) -> Tensor:
            level = self.level(x).squeeze(-1)
            row = torch.bucketize(level, self.edges)  # BREAK flat|cut
            return self.table(row).mean(-1, keepdim=True)

    return Setup(Leveled(), (X,), to_target)


@broken("A histogram loss: counts do not move when a value does.", "straight_through", "Bridge", "perturb")
def histogram_of_comparisons() -> Setup:
    def loss(out: Tensor) -> Tensor:
        edges = torch.linspace(-2, 2, 5)
        inside = (out >= edges[:-1]) & (out < edges[1:])  # BREAK flat
        return (inside.float().mean(0) - 0.25).square().sum()

    return Setup(nn.Linear(6, 1), (X,), loss)


@broken("An image is brought to 8 levels before the next stage.", "straight_through", "Bridge")
def clamp_then_round() -> Setup:
    class Poster(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.after = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 1, 3, padding=1)

        def forward(self, image: Tensor) -> Tensor:
            h = (self.before(image) * 7).clamp(0, 7)
            h = h.round()  # BREAK flat
            return self.after(h / 7)

    image = torch.rand(2, 1, 6, 6)
    return Setup(Poster(), (image,), lambda out: F.l1_loss(out, image))


@broken("Weights of plus or minus a constant, chosen by `torch.where`.", "straight_through", "Bridge")
def where_of_two_constants() -> Setup:
    class BinaryWeights(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(1, 6))
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            binary = torch.where(self.weight >= 0, 1.0, -1.0)  # BREAK flat
            return F.linear(x, binary * self.scale)

    return Setup(BinaryWeights(), (X,), to_target)


@broken("An in-place round, easy to overlook.", "straight_through", "Bridge")
def round_in_place() -> Setup:
    class Coarse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = nn.Linear(6, 3), nn.Linear(3, 6)

        def forward(self, x: Tensor) -> Tensor:
            code = self.encode(x) * 4
            code.round_()  # BREAK flat
            return self.decode(code)

    return Setup(Coarse(), (X,), lambda out: F.mse_loss(out, X))


@broken("A sign inside an activation checkpoint, which runs a second time in the backward.", "straight_through",
        "Bridge")  # fmt: skip
def sign_under_a_checkpoint() -> Setup:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return torch.sign(self.lin(x))  # BREAK flat

    class Saving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.block, self.head = nn.Linear(6, 6), Block(), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x).relu()
            h = checkpoint(self.block, h, use_reentrant=False)
            return self.head(h)

    return Setup(Saving(), (X,), to_target)


@broken("Two heads in a dictionary; the mask head is judged by a thresholded mask, so it never learns.",
        "straight_through", "Bridge", "Switch")  # fmt: skip
def mask_head_of_a_dict_output() -> Setup:
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(6, 5)
            self.heads = nn.ModuleDict({"depth": nn.Linear(5, 1), "mask": nn.Linear(5, 1)})

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            h = self.body(x).relu()
            score = self.heads["mask"](h)
            mask = score.sigmoid().gt(0.5).to(h.dtype)  # BREAK flat
            return {"depth": self.heads["depth"](h), "mask": mask}

    def loss(out: dict[str, Tensor]) -> Tensor:
        return F.mse_loss(out["depth"], Y) + F.l1_loss(out["mask"], (Y > 0).float())

    return Setup(TwoHeads(), (X,), loss)


@broken("Two branches, two mistakes: one side is signed, the other is floored.", "straight_through", "Bridge")
def two_branches_two_breaks() -> Setup:
    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.head = nn.Linear(6, 3), nn.Linear(6, 3), nn.Linear(6, 1)

        def forward(self, x: Tensor, other: Tensor) -> Tensor:
            left = self.left(x).sign()  # BREAK flat
            right = torch.floor(self.right(other))  # BREAK flat
            return self.head(torch.cat([left, right], -1))

    return Setup(Twin(), (X, X.flip(0)), to_target)


@broken("One break behind another: mending the later alone would not help the first layer.", "straight_through",
        "Bridge")  # fmt: skip
def one_break_behind_another() -> Setup:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.sign(self.a(x))  # BREAK flat
            h = torch.round(self.b(h))  # BREAK flat
            return self.c(h)

    return Setup(Deep(), (X,), to_target)


@broken("A term of three that never did anything: the share of active units is a count.", "straight_through", "Bridge",
        "exact", "score_function")  # fmt: skip
def sparsity_term_that_counts() -> Setup:
    class Auto(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = nn.Linear(6, 8), nn.Linear(8, 6)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.encode(x).relu()
            return self.decode(h), h

    def loss(out: tuple[Tensor, Tensor]) -> Tensor:
        copy, h = out
        fit = F.mse_loss(copy, X)
        active = (h > 0).float().mean()  # BREAK flat
        size = h.square().mean()
        return fit + 0.1 * active + 0.01 * size

    return Setup(Auto(), (X,), loss)


@broken("Whole steps by `//`: a floor without a derivative, so that the backward raises.", "straight_through", "Bridge")
def floor_division() -> Setup:
    class Notes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pitch, self.out = nn.Linear(6, 2), nn.Linear(2, 1)

        def forward(self, x: Tensor) -> Tensor:
            pitch = self.pitch(x)
            note = pitch // 0.25  # BREAK flat|cut
            return self.out(note * 0.25)

    return Setup(Notes(), (X,), to_target)


@broken("A gain is snapped to a learned grid by a plain function, no module at all.", "straight_through", "Bridge")
def a_function_of_an_input() -> Setup:
    def step(gain: Tensor, signal: Tensor) -> Tensor:
        snapped = torch.round(gain * 2) / 2  # BREAK flat
        return (signal * snapped - 0.7).square().mean()

    return Setup(step, (torch.tensor([0.8, 1.3], requires_grad=True), torch.rand(5, 2)))


CASES: list[Case] = cases_in(globals())
