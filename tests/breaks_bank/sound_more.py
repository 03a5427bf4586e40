"""More that is right although it looks wrong: masks written in place, metrics, selections, transforms of functions."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.func import functional_call, jacrev, vmap
from torch.nn import functional as F

import hardgrad as hg
from breaks_bank.case import Case, Setup, cases_in, sound, sound_in_part
from breaks_bank.sound_tricks import mlp

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randn(8, 1, generator=torch.Generator().manual_seed(2))
LABELS = torch.arange(8) % 4


def to_target(out: Tensor) -> Tensor:
    return F.mse_loss(out, Y)


def to_labels(out: Tensor) -> Tensor:
    return F.cross_entropy(out, LABELS)


class CopyBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g


class Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return -0.1 * g


@sound
def straight_through_as_a_function_of_autograd() -> Setup:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(CopyBack.apply(self.first(x) * 4) / 4)

    return Setup(Net(), (X,), to_target)


@sound
def a_gradient_that_is_reversed() -> Setup:
    class Domain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.label, self.domain = mlp(5), nn.Linear(5, 4), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.body(x)
            return self.label(h), self.domain(Reverse.apply(h))

    return Setup(Domain(), (X,), lambda out: to_labels(out[0]) + F.softplus(out[1]).mean())


@sound
def a_differential_equation_as_loss() -> Setup:
    model = mlp(1, 1)
    at = torch.linspace(0, 1, 8)[:, None].requires_grad_()

    def loss(u: Tensor) -> Tensor:
        (du,) = grad(u.sum(), at, create_graph=True)
        (ddu,) = grad(du.sum(), at, create_graph=True)
        return (ddu + u).square().mean() + (u[0] - 1).square().sum()

    return Setup(model, (at,), loss)


@sound
def spectra_as_loss() -> Setup:
    def loss(out: Tensor) -> Tensor:
        window = torch.hann_window(8)
        spectrum = torch.stft(out[:, 0], 8, 4, window=window, return_complex=True).abs() + 1e-4
        flat = torch.fft.rfft(out[:, 0]).real.square().sum()
        return spectrum.log().mean() + 0.1 * flat

    return Setup(mlp(1, 2), (torch.randn(32, 2),), loss)


@sound
def matrices_taken_apart() -> Setup:
    def loss(out: Tensor) -> Tensor:
        gram = out.T @ out + torch.eye(4)
        _, values, _ = torch.linalg.svd(out, full_matrices=False)
        return (
            torch.linalg.eigh(gram)[0].log().sum()
            + values.sum()
            + torch.linalg.solve(gram, torch.ones(4)).sum()
            + torch.logdet(gram)
        )

    return Setup(mlp(4), (X,), loss)


@sound_in_part
def negative_entries_set_to_zero_in_place() -> Setup:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            h[h < 0] = 0
            h.clamp_(max=2.0).mul_(torch.rand_like(h) > 0.1)
            return self.second(h)

    return Setup(Net(), (X,), to_target)


@sound
def rows_written_where_a_mask_says() -> Setup:
    class Fill(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin, self.missing, self.head = nn.Linear(6, 5), nn.Parameter(torch.randn(5)), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            seen = x[:, 0] > 0
            out = torch.zeros(8, 5)
            out[seen] = self.lin(x[seen])
            out[~seen] = self.missing
            out[:, -1] = 1.0
            return self.head(out)

    return Setup(Fill(), (X,), to_target)


@sound
def checks_of_values() -> Setup:
    class Checked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(1)

        def forward(self, x: Tensor) -> Tensor:
            out = self.net(x)
            assert not torch.isnan(out).any()
            assert torch.isfinite(out).all(), f"not finite: {out.max():.3f}"
            if out.abs().max() > 1e4:  # HARMLESS
                print("large", out.max().item())
            return out

    return Setup(Checked(), (X,), to_target)


@sound_in_part
def stochastic_depth() -> Setup:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.blocks, self.head = (
                nn.Linear(6, 5),
                nn.ModuleList(mlp(5, 5) for _ in range(4)),
                nn.Linear(5, 1),
            )

        def forward(self, x: Tensor) -> Tensor:
            h = self.into(x)
            for block in self.blocks:
                if self.training and torch.rand(1).item() < 0.5:
                    continue
                h = h + block(h)
            return self.head(h)

    return Setup(Deep(), (X,), to_target)


@sound
def the_better_of_two_orders() -> Setup:
    """Permutation-invariant training: the order that fits best is learned."""

    def loss(out: Tensor) -> Tensor:
        one, two = F.mse_loss(out, X[:, :2]), F.mse_loss(out.flip(-1), X[:, :2])
        return torch.stack([one, two]).min()

    return Setup(mlp(2), (X,), loss)


@sound
def sets_matched_by_a_program() -> Setup:
    """A matching is computed on detached costs; what is matched carries the gradient."""

    def loss(out: Tensor) -> Tensor:
        cost = torch.cdist(out, X[:, :3])
        order = cost.detach().numpy().argmin(1)
        return cost[torch.arange(8), torch.from_numpy(order)].mean()

    return Setup(mlp(3), (X,), loss)


@sound
def a_policy_gradient_by_hand() -> Setup:
    def loss(logits: Tensor) -> Tensor:
        p = logits.softmax(-1)
        action = p.multinomial(1)
        reward = -(action[:, 0] - LABELS).abs().float()
        return -(p.gather(1, action)[:, 0].log() * (reward - reward.mean())).mean()

    return Setup(mlp(4), (X,), loss)


@sound
def a_caption_judged_against_the_greedy_one() -> Setup:
    class Writer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.embed, self.out = nn.GRUCell(4, 6), nn.Embedding(5, 4), nn.Linear(6, 5)

        def write(self, h: Tensor, greedy: bool) -> tuple[Tensor, Tensor]:
            token, score, words = torch.zeros(len(h), dtype=torch.long), torch.zeros(len(h)), []
            for _ in range(3):
                h = self.cell(self.embed(token), h)
                log_p = self.out(h).log_softmax(-1)
                token = log_p.argmax(-1) if greedy else log_p.exp().multinomial(1)[:, 0]
                score = score + log_p.gather(1, token[:, None])[:, 0]
                words.append(token)
            return torch.stack(words, 1), score

        def forward(self, h: Tensor) -> Tensor:
            with torch.no_grad():
                base = (self.write(h, True)[0] == 2).float().sum(1)
            words, score = self.write(h, False)
            return -((words.float().sum(1) - base) * score).mean()

    return Setup(Writer(), (X,))


@sound
def spectral_normalization_by_hand() -> Setup:
    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(1, 6))
            self.register_buffer("u", torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                v = F.normalize(self.weight.T @ self.u, dim=0)
                self.u.copy_(F.normalize(self.weight @ v, dim=0))
            sigma = self.u.clone() @ self.weight @ v
            return F.linear(x, self.weight / sigma + 0.1 * self.weight)

    return Setup(Spectral(), (X,), to_target)


@sound
def a_batch_norm_with_corrections() -> Setup:
    class Renorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin, self.gain = nn.Linear(6, 4), nn.Parameter(torch.ones(4))
            self.register_buffer("mean", torch.zeros(4))
            self.register_buffer("scale", torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            h = self.lin(x)
            mean, scale = h.mean(0), h.std(0) + 1e-5
            r = (scale.detach() / self.scale).clamp(0.5, 2)
            d = ((mean.detach() - self.mean) / self.scale).clamp(-1, 1)
            self.mean += 0.1 * (mean.detach() - self.mean)
            self.scale += 0.1 * (scale.detach() - self.scale)
            return ((h - mean) / scale * r + d) * self.gain

    return Setup(Renorm(), (X,), to_labels)


@sound
def simulated_quantization_of_torch() -> Setup:
    class Fake(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.fake_quantize_per_tensor_affine(self.first(x), 0.1, 0, -128, 127)
            return self.second(h)

    return Setup(Fake(), (X,), to_target)


@sound
def derivatives_by_torch_func() -> Setup:
    net = mlp(2)

    class Smooth(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            weights = dict(self.net.named_parameters())
            slope = vmap(jacrev(lambda row: functional_call(self.net, weights, (row,))))(x)
            return self.net(x).square().mean() + 0.1 * slope.square().mean()

    return Setup(Smooth(), (X,))


@sound
def weights_of_terms_from_their_sizes() -> Setup:
    class Terms(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = mlp(1), mlp(4)

        def forward(self, x: Tensor) -> Tensor:
            terms = torch.stack([to_target(self.a(x)), to_labels(self.b(x))])
            with torch.no_grad():
                weights = (terms / terms.sum()).softmax(0)
            worst = int(terms.argmax())
            return (weights * terms).sum() + 0.1 * terms[worst]

    return Setup(Terms(), (X,))


@sound
def a_loss_and_its_metrics_in_one_dictionary() -> Setup:
    """No loss is given: the model hands out its own, beside numbers for the log."""

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(4)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            logits = self.net(x)
            accuracy = (logits.argmax(-1) == LABELS).float().mean()
            return {"loss": to_labels(logits), "accuracy": accuracy, "logits": logits.detach()}

    return Setup(Step(), (X,), lambda out: out["loss"])


@sound
def positions_of_tokens_by_a_running_count() -> Setup:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.place, self.head = nn.Embedding(9, 6), nn.Embedding(9, 6), nn.Linear(6, 4)

        def forward(self, tokens: Tensor) -> Tensor:
            mask = tokens.ne(0).int()
            place = (torch.cumsum(mask, 1) * mask).long()
            h = self.embed(tokens) + self.place(place)
            last = mask.sum(1).long() - 1
            return self.head(h[torch.arange(len(h)), last])

    tokens = torch.randint(1, 9, (8, 5))
    tokens[:4, 3:] = 0
    return Setup(Reader(), (tokens,), to_labels)


@sound
def complex_numbers_and_phases() -> Setup:
    class Rotate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.angle, self.lin = nn.Parameter(torch.rand(3)), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            z = torch.view_as_complex(self.lin(x).view(8, 3, 2)) * torch.polar(torch.ones(3), self.angle)
            return torch.view_as_real(z).flatten(1).sum(-1, keepdim=True) + z.abs().sum(-1, keepdim=True)

    return Setup(Rotate(), (X,), to_target)


@sound
def a_rotary_place_and_a_window() -> Setup:
    class Rotary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(6, 12), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).chunk(3, -1)
            at = torch.arange(8)[:, None] / torch.tensor([1.0, 10.0])
            c, s = at.cos().repeat(1, 2), at.sin().repeat(1, 2)
            q, k = (t * c + torch.cat([-t[:, 2:], t[:, :2]], -1) * s for t in (q, k))
            near = (torch.arange(8)[:, None] - torch.arange(8)).abs() <= 2
            bias = torch.where(near, 0.0, torch.finfo(q.dtype).min)
            return self.out(((q @ k.T) / math.sqrt(4) + bias).softmax(-1) @ v)

    return Setup(Rotary(), (X,), to_target)


@sound
def a_perturbed_program() -> Setup:
    model = nn.Sequential(nn.Linear(6, 5), hg.perturb(lambda h: (h * 4).round() / 4, 0.3, samples=2), nn.Linear(5, 1))
    return Setup(model, (X,), to_target)


@sound
def a_bridge_over_a_black_box() -> Setup:
    box = hg.BlackBox(lambda row: row.round(), batched=True)
    return Setup(nn.Sequential(nn.Linear(6, 5), hg.Bridge(box, mlp(5, 5)), nn.Linear(5, 1)), (X,), to_target)


@sound
def a_loss_in_half_precision_with_a_scale() -> Setup:
    def loss(out: Tensor) -> Tensor:
        return (out.half().float() - Y).square().mean() * 128.0 / 128.0

    return Setup(mlp(1), (X,), loss)


CASES: list[Case] = cases_in(globals())
