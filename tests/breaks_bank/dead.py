"""Layers through which nothing comes back for this batch, and operations over a single element."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from breaks_bank.case import Case, Setup, broken, cases_in

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randn(8, 1, generator=torch.Generator().manual_seed(2))


def to_target(out: Tensor) -> Tensor:
    return F.mse_loss(out, Y)


@broken("A bias of -50 was loaded: no unit of the layer is ever on.")
def dead_relu() -> Setup:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 1)
            nn.init.constant_(self.first.bias, -50.0)

        def forward(self, x: Tensor) -> Tensor:
            h = F.relu(self.first(x))  # BREAK dead
            return self.second(h)

    return Setup(Net(), (X,), to_target)


@broken("A dead nn.ReLU two levels inside a Sequential.")
def dead_relu_in_a_sequential() -> Setup:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stack = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Sequential(nn.Linear(5, 5), nn.ReLU()))
            self.head = nn.Linear(5, 1)
            nn.init.constant_(self.stack[2][0].bias, -9.0)

        def forward(self, x: Tensor) -> Tensor:
            h = self.stack(x)  # BREAK dead
            return self.head(h)

    return Setup(Net(), (X,), to_target)


@broken("Logits of 200: the sigmoid is 1 to the last bit and its slope is 0.")
def sigmoid_saturated_in_every_row() -> Setup:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.value = nn.Linear(6, 1), nn.Linear(6, 1)
            nn.init.constant_(self.gate.bias, 200.0)

        def forward(self, x: Tensor) -> Tensor:
            g = torch.sigmoid(self.gate(x))  # BREAK dead|suspicious
            return g * self.value(x)

    return Setup(Gate(), (X,), to_target)


@broken("Attention over time, but the softmax runs over the last dimension, which has one element.")
def softmax_over_one_element() -> Setup:
    class Pool(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score, self.head = nn.Linear(3, 1), nn.Linear(3, 1)

        def forward(self, frames: Tensor) -> Tensor:
            weight = self.score(frames).softmax(dim=-1)  # BREAK suspicious
            return self.head((weight * frames).mean(1))

    return Setup(Pool(), (torch.randn(8, 4, 3),), to_target)


@broken("Cross entropy with one logit: the loss is 0 whatever the network says.")
def cross_entropy_with_one_class() -> Setup:
    labels = torch.zeros(8, dtype=torch.long)

    def loss(out: Tensor) -> Tensor:
        return F.cross_entropy(out, labels)  # BREAK suspicious

    return Setup(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1)), (X,), loss)


@broken("An image in 0..255 meets a clamp to 0..1: every value of every row is cut.")
def clamp_saturated_for_all_rows() -> Setup:
    class Tone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.curve, self.head = nn.Linear(6, 6), nn.Linear(6, 1)
            nn.init.constant_(self.curve.bias, 128.0)

        def forward(self, x: Tensor) -> Tensor:
            y = self.curve(x).clamp(0, 1)  # BREAK suspicious|dead
            return self.head(y)

    return Setup(Tone(), (X,), to_target)


@broken("The same with nn.Hardtanh, as a module.")
def hardtanh_saturated_for_all_rows() -> Setup:
    class Tone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.curve, self.limit, self.head = nn.Linear(6, 6), nn.Hardtanh(), nn.Linear(6, 1)
            nn.init.constant_(self.curve.bias, 40.0)

        def forward(self, x: Tensor) -> Tensor:
            y = self.curve(x)
            y = self.limit(y)  # BREAK suspicious|dead
            return self.head(y)

    return Setup(Tone(), (X,), to_target)


@broken("A log-likelihood of a probability that was normalized over one element, so it is always log 1.")
def log_of_a_constant() -> Setup:
    class Mixture(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.weight = nn.Linear(6, 1), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            w = self.weight(x).exp()
            p = w / w.sum(-1, keepdim=True)  # BREAK suspicious
            log_p = p.log()  # OR
            return (self.mean(x) - Y).square().mean() - log_p.mean()

    return Setup(Mixture(), (X,))


@broken("The log of a clamped likelihood: all are below the floor.")
def log_of_a_floor() -> Setup:
    class Density(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.distance = nn.Linear(6, 1)
            nn.init.constant_(self.distance.bias, 9.0)

        def forward(self, x: Tensor) -> Tensor:
            likelihood = torch.exp(-self.distance(x).square())
            return -torch.log(likelihood.clamp(min=1e-6)).mean()  # BREAK suspicious|dead

    return Setup(Density(), (X,))


@broken("LayerNorm over a single feature: the output is its bias.")
def layer_norm_over_one_feature() -> Setup:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin, self.norm, self.head = nn.Linear(6, 1), nn.LayerNorm(1), nn.Linear(1, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.norm(self.lin(x))  # BREAK suspicious|dead
            return self.head(h)

    return Setup(Normed(), (X,), to_target)


@broken("GroupNorm with a group for each channel, after global pooling: one number in each group.")
def group_norm_over_one_element() -> Setup:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.GroupNorm(4, 4), nn.Linear(4, 1)

        def forward(self, image: Tensor) -> Tensor:
            h = self.conv(image).mean((2, 3), keepdim=True)
            h = self.norm(h)  # BREAK suspicious|dead
            return self.head(h.flatten(1))

    return Setup(Pooled(), (torch.randn(8, 1, 5, 5),), to_target)


@broken("A branch of the loss is dead while the others learn: a margin that no row reaches.",
        debatable="a margin that every row keeps is also how a finished training looks")  # fmt: skip
def margin_that_no_row_reaches() -> Setup:
    class Margin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(6, 3), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.embed(x), self.head(x)

    def loss(out: tuple[Tensor, Tensor]) -> Tensor:
        apart = F.pdist(out[0])
        repel = F.relu(0.001 - apart).sum()  # BREAK suspicious|dead
        return repel + F.mse_loss(out[1], Y)

    return Setup(Margin(), (X,), loss)


@broken("`where` computes both sides: the log of a negative number sends back NaN.",
        debatable="not a number is no kind of its own; `parameters` must name who gets it")  # fmt: skip
def nan_from_the_side_not_taken() -> Setup:
    class Safe(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.lin(x)
            return torch.where(h > 0, h.sqrt(), torch.zeros(()))  # BREAK suspicious|dead

    return Setup(Safe(), (X,), to_target)


@broken("A head that nobody calls.",
        debatable="an unused parameter has no line; `parameters` must name it")  # fmt: skip
def parameter_never_used() -> Setup:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Linear(6, 1), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    return Setup(Spare(), (X,), to_target)


CASES: list[Case] = cases_in(globals())
