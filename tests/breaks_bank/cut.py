"""Values that leave the graph: indices, Python numbers, NumPy, integers, detached copies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F

from breaks_bank.case import Case, Setup, broken, cases_in

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randn(8, 1, generator=torch.Generator().manual_seed(2))
CHOICES = ("gumbel", "straight_through", "score_function", "reinmax", "exact", "Switch", "Bridge")
PROGRAM = ("BlackBox", "Bridge", "perturb", "straight_through", "score_function")


def to_target(out: Tensor) -> Tensor:
    return F.mse_loss(out, Y)


def numpy_median(h: Tensor) -> Tensor:
    rows = h.detach().numpy()  # BREAK cut
    return torch.from_numpy(np.median(rows, axis=1, keepdims=True))  # OR


@broken("A key point is where a heat map is largest: an index made a coordinate.", *CHOICES)
def argmax_as_a_coordinate() -> Setup:
    class KeyPoint(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heat = nn.Conv1d(1, 1, 3, padding=1)
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            heat = self.heat(x[:, None])[:, 0]
            place = heat.argmax(-1, keepdim=True)  # BREAK cut
            return place.float() / 6 * self.scale

    return Setup(KeyPoint(), (X,), to_target)


@broken("A one-hot code of the largest logit is multiplied by a table.", *CHOICES)
def one_hot_of_an_argmax() -> Setup:
    class Pick(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits, self.table = nn.Linear(6, 4), nn.Parameter(torch.randn(4, 1))

        def forward(self, x: Tensor) -> Tensor:
            code = F.one_hot(self.logits(x).argmax(-1), 4).float()  # BREAK cut
            return code @ self.table

    return Setup(Pick(), (X,), to_target)


@broken("The places of the two largest scores are fed on as positions.", "straight_through", "Bridge", "perturb",
        *CHOICES)  # fmt: skip
def topk_indices_as_values() -> Setup:
    class Places(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score, self.head = nn.Linear(6, 6), nn.Linear(2, 1)

        def forward(self, x: Tensor) -> Tensor:
            best = torch.topk(self.score(x), 2)  # BREAK cut
            where = best.indices.float() / 6  # OR
            return self.head(where)

    return Setup(Places(), (X,), to_target)


@broken("Tokens to keep are the two of the highest learned score; the score itself gets nothing.", "straight_through",
        "perturb", *CHOICES)  # fmt: skip
def token_pruning_by_a_learned_score() -> Setup:
    class Prune(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.importance, self.head = nn.Linear(3, 5), nn.Linear(3, 1), nn.Linear(5, 1)

        def forward(self, tokens: Tensor) -> Tensor:
            score = self.importance(tokens).squeeze(-1)
            keep = score.topk(2, dim=1).indices  # BREAK cut
            kept = self.embed(tokens).gather(1, keep[..., None].expand(-1, -1, 5))  # OR
            return self.head(kept.mean(1))

    return Setup(Prune(), (torch.randn(8, 4, 3),), to_target)


@broken("The order of a sort is the output, as a rank.", "straight_through", "perturb", "Bridge")
def order_of_a_sort() -> Setup:
    class Order(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score, self.mix = nn.Linear(6, 6), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            _, order = torch.sort(self.score(x), dim=-1)  # BREAK cut
            return self.mix(order.float())  # OR

    return Setup(Order(), (X,), to_target)


@broken("A rank correlation as loss: argsort twice.", "straight_through", "perturb", "Bridge")
def spearman_by_argsort() -> Setup:
    target_rank = Y[:, 0].argsort().argsort().float()

    def loss(out: Tensor) -> Tensor:
        order = out[:, 0].argsort()  # BREAK cut
        rank = order.argsort().float()
        return 1 - F.cosine_similarity(rank - rank.mean(), target_rank - target_rank.mean(), dim=0)

    return Setup(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1)), (X,), loss)


@broken("A learned scale is read with `.item()`, to print it, and then used.")
def item_of_a_learned_scale() -> Setup:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = nn.Linear(6, 1)
            self.scale = nn.Parameter(torch.tensor(1.5))

        def forward(self, x: Tensor) -> Tensor:
            scale = self.scale.item()  # BREAK cut
            return self.lin(x) * scale

    return Setup(Scaled(), (X,), to_target)


@broken("Mixing weights take a detour through a list.")
def tolist_and_back() -> Setup:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(6, 1) for _ in range(3))
            self.logits = nn.Parameter(torch.randn(3))

        def forward(self, x: Tensor) -> Tensor:
            weights = self.logits.softmax(0).tolist()  # BREAK cut
            return sum(w * expert(x) for w, expert in zip(weights, self.experts, strict=True))

    return Setup(Mixed(), (X,), to_target)


@broken("A brightness becomes a row number of a color table.", "straight_through", "Bridge", "RangeEmbedding",
        "Switch", "LearnedRanges")  # fmt: skip
def long_as_a_row_number() -> Setup:
    class Palette(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bright = nn.Linear(6, 1)
            self.colors = nn.Parameter(torch.randn(8, 3))

        def forward(self, x: Tensor) -> Tensor:
            row = (self.bright(x).sigmoid() * 7).long().squeeze(-1)  # BREAK cut
            return self.colors[row]

    return Setup(Palette(), (X,), lambda out: F.mse_loss(out, X[:, :3]))


@broken("An image is saved as bytes and read again, in the middle of the network.", "straight_through", "Bridge")
def bytes_of_an_image() -> Setup:
    class Codec(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 1, 3, padding=1)

        def forward(self, image: Tensor) -> Tensor:
            code = self.encode(image).sigmoid() * 255
            code = code.to(torch.uint8)  # BREAK cut
            return self.decode(code.float() / 255)

    image = torch.rand(2, 1, 6, 6)
    return Setup(Codec(), (image,), lambda out: F.mse_loss(out, image))


@broken("A cast to int and back, to drop the fraction.", "straight_through", "Bridge")
def int_and_back() -> Setup:
    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = (self.first(x) * 8).int().float() / 8  # BREAK cut
            return self.second(h)

    return Setup(Steps(), (X,), to_target)


@broken("A median that NumPy computes, in a helper.", *PROGRAM, helpers=(numpy_median,))
def numpy_in_a_helper() -> Setup:
    class Centered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(numpy_median(self.first(x)))

    return Setup(Centered(), (X,), to_target)


@broken("A `.detach()` left over from a debugging session.")
def detach_left_over() -> Setup:
    class Tail(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = nn.Sequential(nn.Linear(6, 5), nn.ReLU()), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            features = self.encoder(x).detach()  # BREAK cut
            return self.head(features)

    return Setup(Tail(), (X,), to_target)


@broken("Losses of three heads are gathered as a new tensor of their values.")
def new_tensor_of_losses() -> Setup:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.ModuleList(nn.Linear(6, 1) for _ in range(3))
            self.balance = nn.Parameter(torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            losses = [F.mse_loss(head(x), Y) for head in self.heads]
            together = torch.tensor(losses)  # BREAK cut
            return (together * self.balance.softmax(0)).sum()

    return Setup(Heads(), (X,))


@broken("A temperature is copied by `torch.tensor(t)`.")
def torch_tensor_of_a_tensor() -> Setup:
    class Tempered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = nn.Linear(6, 4)
            self.log_temperature = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            temperature = torch.tensor(self.log_temperature.exp())  # BREAK cut
            return (self.lin(x) / temperature).log_softmax(-1)[:, :1]

    return Setup(Tempered(), (X,), to_target)


@broken("The backbone is called under `no_grad`, as it was when it was frozen; now it is meant to learn.")
def backbone_under_no_grad() -> Setup:
    class Tuned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = nn.Sequential(nn.Linear(6, 5), nn.ReLU()), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():  # BREAK cut
                h = self.backbone(x)  # OR
            return self.head(h)

    return Setup(Tuned(), (X,), to_target)


@broken("A method that is decorated with `no_grad`, far from where it is called.")
def method_decorated_with_no_grad() -> Setup:
    class Metric(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(6, 5), nn.Linear(5, 1)

        @torch.no_grad()  # BREAK cut
        def distances(self, x: Tensor, y: Tensor) -> Tensor:
            return (self.embed(x) - self.embed(y)).square()  # OR

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            d = self.distances(x, y)  # OR
            return self.head(d)

    return Setup(Metric(), (X, X.flip(0)), to_target)


@broken("A gate chooses one of two networks by a Python `if`.", "Switch", "If", "Ranges", "LearnedRanges")
def python_if_on_a_gate() -> Setup:
    class Either(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.small, self.large = nn.Linear(6, 1), nn.Linear(6, 1), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            if self.gate(x).mean() > 0:  # BREAK cut|flat
                return self.large(x)
            return self.small(x)

    # The branch not taken gets nothing either; that is no break of its own.
    return Setup(Either(), (X,), to_target)


@broken("Pondering: a loop goes on until a learned halting score says stop.", "score_function", "Switch", "Bridge",
        "straight_through", "perturb")  # fmt: skip
def python_while_on_a_halting_score() -> Setup:
    class Ponder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.halt, self.head = nn.Linear(6, 6), nn.Linear(6, 1), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            h, done = x, torch.zeros(())
            while done < 1:  # BREAK cut|flat
                h = torch.tanh(self.cell(h))
                done = done + self.halt(h).sigmoid().mean()
            return self.head(h)

    return Setup(Ponder(), (X,), to_target)


@broken("Gains are overwritten with ones, to switch them off for a while.")
def constant_written_in_place() -> Setup:
    class Gains(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain, self.lin = nn.Linear(6, 5), nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            gain = self.gain(x)
            gain[:] = 1.0  # BREAK cut
            return (gain * self.lin(x)).sum(-1, keepdim=True)

    return Setup(Gains(), (X,), to_target)


@broken("`fill_` on a tensor that a layer computed.")
def fill_in_place() -> Setup:
    class Prior(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.log_scale = nn.Linear(6, 1), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            log_scale = self.log_scale(x)
            log_scale.fill_(-1.0)  # BREAK cut
            return {"mean": self.mean(x), "log_scale": log_scale}

    def loss(out: dict[str, Tensor]) -> Tensor:
        return ((Y - out["mean"]) / out["log_scale"].exp()).square().mean() + out["log_scale"].mean()

    return Setup(Prior(), (X,), loss)


@broken("Old code: `.data`.")
def dot_data() -> Setup:
    class Old(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.value = nn.Linear(6, 6), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            attention = (self.query(x) @ x.T).softmax(-1).data  # BREAK cut
            return attention @ self.value(x)

    return Setup(Old(), (X,), to_target)


class NoneBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sort(-1).values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> None:
        return None


class ZerosBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return torch.zeros_like(grad)


@broken("A custom Function whose backward was never written.", "straight_through", "Bridge", "graft")
def function_that_returns_none() -> Setup:
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            h = NoneBack.apply(h)  # BREAK cut
            return self.second(h)

    return Setup(Sorted(), (X,), to_target)


@broken("A custom Function that returns zeros, inside a Sequential.", "straight_through", "Bridge", "graft")
def function_that_returns_zeros() -> Setup:
    class Quantizer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return ZerosBack.apply(x * 4) / 4  # BREAK cut|flat

    return Setup(nn.Sequential(nn.Linear(6, 5), Quantizer(), nn.Linear(5, 1)), (X,), to_target)


@broken("A pruned weight is wrapped as a Parameter anew in every forward, which starts a new graph.")
def parameter_wrapped_again() -> Setup:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.raw = nn.Parameter(torch.randn(1, 6))
            self.bias = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            weight = nn.Parameter(self.raw / self.raw.norm())  # BREAK cut
            return F.linear(x, weight, self.bias)

    return Setup(Masked(), (X,), to_target)


@broken("A module's `float()` and `math.exp`: Python numbers have no gradient.")
def math_on_a_parameter() -> Setup:
    class Decay(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = nn.Linear(6, 1)
            self.log_rate = nn.Parameter(torch.tensor(-1.0))

        def forward(self, x: Tensor) -> Tensor:
            rate = math.exp(self.log_rate)  # BREAK cut
            return self.lin(x) * (1 - rate)

    return Setup(Decay(), (X,), to_target)


@broken("A window of a learned length: `int()` makes it a slice.", "straight_through", "Bridge", "perturb",
        "score_function", "Switch", "LearnedRanges")  # fmt: skip
def learned_window_length() -> Setup:
    class Window(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = nn.Linear(6, 6)
            self.length = nn.Parameter(torch.tensor(3.7))

        def forward(self, x: Tensor) -> Tensor:
            n = int(self.length)  # BREAK cut
            return self.lin(x)[:, :n].mean(-1, keepdim=True)

    return Setup(Window(), (X,), to_target)


@broken("A second leaf: detached, and told to require a gradient, which stops there.")
def detached_and_required_again() -> Setup:
    class Stage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.one(x).relu()
            h = h.detach().requires_grad_()  # BREAK cut
            return self.two(h)

    return Setup(Stage(), (X,), to_target)


@broken("A variational model draws by `sample` where it wanted `rsample`.")
def sample_instead_of_rsample() -> Setup:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.log_scale, self.decode = nn.Linear(6, 3), nn.Linear(6, 3), nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            q = Normal(self.mean(x), self.log_scale(x).exp())
            z = q.sample()  # BREAK cut
            return self.decode(z)

    return Setup(Noisy(), (X,), to_target)


@broken("An action is drawn from a policy and looked up; nobody uses its log-probability.", *CHOICES)
def multinomial_draw() -> Setup:
    class Policy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits, self.effect = nn.Linear(6, 4), nn.Embedding(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            p = self.logits(x).softmax(-1)
            action = torch.multinomial(p, 1)[:, 0]  # BREAK cut
            return self.effect(action)

    return Setup(Policy(), (X,), to_target)


@broken("Coins are drawn with a learned probability; torch says their gradient is zero.", *CHOICES, "rebar", "disarm")
def bernoulli_draw() -> Setup:
    class Coins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits, self.head = nn.Linear(6, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            coins = torch.bernoulli(self.logits(x).sigmoid())  # BREAK flat|cut
            return self.head(coins)

    return Setup(Coins(), (X,), to_target)


@broken("Fast weights are taken from `state_dict`, which hands out detached copies.")
def weights_from_a_state_dict() -> Setup:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.source, self.head = nn.Linear(6, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            weights = self.source.state_dict()  # BREAK cut
            h = F.linear(x, weights["weight"], weights["bias"])  # OR
            return self.head(h.relu())

    return Setup(Shared(), (X,), to_target)


@broken("Per-row losses are added as Python numbers inside a list comprehension; one term alone still learns.")
def items_in_a_comprehension() -> Setup:
    class TwoTerms(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.smooth = nn.Linear(6, 1), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.body(x), self.smooth(x)

    def loss(out: tuple[Tensor, Tensor]) -> Tensor:
        rows = (out[0] - Y).square()
        fit = sum([row.item() for row in rows])  # BREAK cut
        return fit + out[1].square().mean()

    return Setup(TwoTerms(), (X,), loss)


@broken("Gradient is switched off by a flag that someone else set.")
def set_grad_enabled_by_a_flag() -> Setup:
    class Staged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.train_encoder = False
            self.encoder, self.head = nn.Linear(6, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            with torch.set_grad_enabled(self.train_encoder):  # BREAK cut
                h = self.encoder(x).tanh()  # OR
            return self.head(h)

    return Setup(Staged(), (X,), to_target)


@broken("A count of true entries is taken for a length.", "straight_through", "Bridge", "score_function", "Switch")
def bool_cast_and_count() -> Setup:
    class Length(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stop, self.head = nn.Linear(6, 4), nn.Linear(1, 1)

        def forward(self, x: Tensor) -> Tensor:
            on = self.stop(x).relu().bool()  # BREAK cut|flat
            return self.head(on.sum(-1, keepdim=True).float())

    return Setup(Length(), (X,), to_target)


CASES: list[Case] = cases_in(globals())
