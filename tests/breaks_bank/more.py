"""Rarer breaks: a loss wrapped anew, bits, counts, draws, other indices, weights assigned through `.data`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, RelaxedBernoulli
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from breaks_bank.case import Case, Setup, broken, cases_in
from breaks_bank.cut import CHOICES, PROGRAM

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randn(8, 1, generator=torch.Generator().manual_seed(2))
LABELS = torch.arange(8) % 4


def to_target(out: Tensor) -> Tensor:
    return F.mse_loss(out, Y)


class Two(nn.Module):
    """Two layers and what comes between them."""

    def __init__(self, between: Callable[[Tensor], Tensor] = torch.tanh, width: int = 5, out: int = 1) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(width, out)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(self.first(x)))


@broken("The loss lost its graph, so somebody made it a leaf that requires a gradient: the backward runs again.")
def a_loss_wrapped_as_a_new_leaf() -> Setup:
    def loss(out: Tensor) -> Tensor:
        value = to_target(out)
        return torch.tensor(value.item(), requires_grad=True)  # BREAK cut

    return Setup(Two(), (X,), loss)


@broken("The same as old tutorials have it.")
def a_loss_wrapped_as_a_variable() -> Setup:
    def loss(out: Tensor) -> Tensor:
        value = to_target(out)
        return torch.autograd.Variable(value.data, requires_grad=True)  # BREAK cut

    return Setup(Two(), (X,), loss)


@broken("Activations are quantized by torch's integer tensors, and back.", "straight_through", "Bridge")
def quantized_tensors_of_torch() -> Setup:
    def between(h: Tensor) -> Tensor:
        whole = torch.quantize_per_tensor(h, 0.1, 0, torch.qint8)  # BREAK cut|flat
        return whole.dequantize()

    return Setup(Two(between), (X,), to_target)


@broken("The lower bits are cut off by a view as integers.", "straight_through", "Bridge")
def bits_seen_as_an_integer() -> Setup:
    def between(h: Tensor) -> Tensor:
        bits = h.view(torch.int32) & -65536  # BREAK cut
        return bits.view(torch.float32)

    return Setup(Two(between), (X,), to_target)


@broken("A histogram of the output as a loss.", "straight_through", "Bridge", "perturb")
def histogram_of_torch() -> Setup:
    def loss(out: Tensor) -> Tensor:
        count = torch.histc(out, 4, -2, 2)  # BREAK cut|flat
        return (count / 8 - 0.25).square().sum()

    return Setup(Two(), (X,), loss)


@broken("The logarithm of how many values are not zero, beside a loss that learns.", "straight_through", "Bridge",
        "perturb")  # fmt: skip
def a_count_of_what_is_not_zero() -> Setup:
    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main, self.extra = nn.Linear(6, 1), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.main(x), self.extra(x).relu()

    def loss(out: tuple[Tensor, Tensor]) -> Tensor:
        return to_target(out[0]) + torch.count_nonzero(out[1]).float().log()  # BREAK cut|flat

    return Setup(Sparse(), (X,), loss)


@broken("The place of the running maximum.", *CHOICES, "perturb")
def index_of_a_running_maximum() -> Setup:
    def between(h: Tensor) -> Tensor:
        _, place = torch.cummax(h, -1)  # BREAK cut
        return place / 4.0  # OR

    return Setup(Two(between), (X,), to_target)


@broken("An index taken by number out of what `max` returns.", *CHOICES, "perturb")
def second_part_of_a_max() -> Setup:
    def between(h: Tensor) -> Tensor:
        both = torch.max(h, dim=1)  # BREAK cut
        return both[1].unsqueeze(1).float()  # OR

    return Setup(Two(between, 1), (X,), to_target)


@broken("The largest of some learned numbers, by Python's own max of floats.")
def python_max_of_floats() -> Setup:
    class Largest(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gains, self.lin = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            gain = max(float(g) for g in self.gains)  # BREAK cut
            return self.lin(x) * gain

    return Setup(Largest(), (X,), to_target)


@broken("A tensor filled entry by entry with Python numbers.")
def filled_entry_by_entry() -> Setup:
    def between(h: Tensor) -> Tensor:
        out = torch.empty_like(h)
        for i in range(h.shape[0]):
            for j in range(h.shape[1]):
                out[i, j] = h[i, j].item() * 2  # BREAK cut
        return out

    return Setup(Two(between), (X,), to_target)


@broken("Each row takes a way of its own, by if and elif.", "Switch", "If", "Ranges", "LearnedRanges")
def a_way_for_each_row() -> Setup:
    class Ways(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.lin = nn.Linear(6, 1), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            rows = []
            for row in x:
                gate = self.gate(row)
                if gate > 0.2:  # BREAK cut|flat
                    rows.append(self.lin(row))
                elif gate < -0.2:  # BREAK cut|flat
                    rows.append(-self.lin(row))
                else:
                    rows.append(self.lin(row) * 0.5)
            return torch.stack(rows)

    return Setup(Ways(), (X,), to_target)


@broken("A learned threshold decides which of two slopes is taken; both sides learn, the threshold does not.",
        "straight_through", "LearnedRanges", "Switch", "Bridge")  # fmt: skip
def learned_threshold_in_a_where() -> Setup:
    class Kink(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.threshold, self.lin = nn.Parameter(torch.tensor(0.1)), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.lin(x)
            return torch.where(h > self.threshold, h, 0.1 * h)  # BREAK flat

    return Setup(Kink(), (X,), to_target)


@broken("Rows are kept where a learned score is above its mean.", "straight_through", "Switch", "perturb", *CHOICES)
def rows_kept_by_a_learned_score() -> Setup:
    class Keep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score, self.value = nn.Linear(6, 1), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            score = self.score(x)[:, 0]
            kept = (score > score.mean()).nonzero()[:, 0]  # BREAK flat|cut
            return self.value(x)[kept].mean().expand(8, 1)

    return Setup(Keep(), (X,), to_target)


@broken("A network makes the weights of another and assigns them through `.data`.")
def weights_assigned_through_data() -> Setup:
    class Hyper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.maker, self.made = nn.Linear(6, 6), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            weight = self.maker(x.mean(0, keepdim=True))
            self.made.weight.data = weight.data  # BREAK cut
            return self.made(x)

    return Setup(Hyper(), (X,), to_target)


@broken("Gumbel noise and an argmax, without the soft half.", *CHOICES)
def gumbel_noise_without_a_softmax() -> Setup:
    class Draw(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits, self.table = nn.Linear(6, 4), nn.Embedding(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            noise = -torch.log(-torch.log(torch.rand(8, 4).clamp(1e-6, 1 - 1e-6)))
            choice = (self.logits(x) + noise).argmax(1)  # BREAK cut
            return self.table(choice)

    return Setup(Draw(), (X,), to_target)


@broken("A class is drawn by torch.distributions, and its log-probability is not used.", *CHOICES)
def a_class_drawn_and_looked_up() -> Setup:
    class Draw(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits, self.table = nn.Linear(6, 4), nn.Embedding(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            choice = Categorical(logits=self.logits(x)).sample()  # BREAK cut
            return self.table(choice)

    return Setup(Draw(), (X,), to_target)


@broken("A relaxed coin is drawn as it should be, and then rounded.", "straight_through", "Bridge", "gumbel")
def a_relaxed_draw_that_is_rounded() -> Setup:
    class Coins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits, self.head = nn.Linear(6, 4), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            coins = RelaxedBernoulli(torch.tensor(0.5), logits=self.logits(x)).rsample()
            return self.head(coins.round())  # BREAK flat

    return Setup(Coins(), (X,), to_target)


@broken("`np.exp` of a learned number.", *PROGRAM)
def a_number_through_numpy() -> Setup:
    class Rate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate, self.lin = nn.Parameter(torch.tensor([0.5])), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            rate = np.exp(self.rate.detach().cpu().numpy())[0]  # BREAK cut
            return self.lin(x) * float(rate)

    return Setup(Rate(), (X,), to_target)


@broken("A checkpointed function detaches what it is given.")
def detach_under_a_checkpoint() -> Setup:
    class Saving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 1)

        def last(self, h: Tensor) -> Tensor:
            return self.second(h.detach())  # BREAK cut

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.last, self.first(x), use_reentrant=False)

    return Setup(Saving(), (X,), to_target)


@broken("The accuracy is added to the loss, to improve it.", *CHOICES)
def accuracy_as_a_term() -> Setup:
    def loss(out: Tensor) -> Tensor:
        accuracy = (out.argmax(-1) == LABELS).float().mean()  # BREAK cut|flat
        return F.cross_entropy(out, LABELS) + (1 - accuracy)

    return Setup(Two(out=4), (X,), loss)


@broken("The overlap of masks is computed on thresholded masks, beside a cross entropy.", "straight_through", "Bridge",
        "Switch")  # fmt: skip
def overlap_of_hard_masks() -> Setup:
    def loss(out: Tensor) -> Tensor:
        mask = (out.sigmoid() > 0.5).float()  # BREAK flat
        seen = (Y > 0).float()
        both = (mask * seen).sum()
        return F.binary_cross_entropy_with_logits(out, seen) + 1 - both / (mask.sum() + seen.sum() - both + 1e-6)

    return Setup(Two(), (X,), loss)


@broken("The input is copied over what the layer computed.")
def overwritten_by_the_input() -> Setup:
    class Copy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            h.copy_(x[:, :5])  # BREAK cut
            return self.second(h)

    return Setup(Copy(), (X,), to_target)


@broken("One ReLU of three in a loop is dead.")
def one_dead_relu_of_a_loop() -> Setup:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.head = nn.ModuleList(nn.Linear(6, 6) for _ in range(3)), nn.Linear(6, 1)
            nn.init.constant_(self.layers[1].bias, -60.0)

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = torch.relu(layer(x))  # BREAK dead
            return self.head(x)

    return Setup(Loop(), (X,), to_target)


@broken("`torch.minimum` with a limit that all values exceed.")
def minimum_with_a_limit_below_all() -> Setup:
    model = Two(lambda h: torch.minimum(h, torch.ones(())))  # BREAK suspicious|dead
    nn.init.constant_(model.first.bias, 50.0)
    return Setup(model, (X,), to_target)


@broken("The mean over a single feature is taken away: zero is left.")
def centered_over_one_feature() -> Setup:
    class Center(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin, self.head = nn.Linear(6, 1), nn.Linear(1, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.lin(x)
            h = h - h.mean(-1, keepdim=True)  # BREAK suspicious|dead
            return self.head(h)

    return Setup(Center(), (X,), to_target)


CASES: list[Case] = cases_in(globals())
