"""Detached copies, hard choices and masks as they are rightly used."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.distributions import Bernoulli, Categorical, Independent, Normal
from torch.nn import functional as F

import hardgrad as hg
from breaks_bank.case import Case, Setup, cases_in, sound, sound_in_part

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randn(8, 1, generator=torch.Generator().manual_seed(2))
LABELS = torch.arange(8) % 4


def to_target(out: Tensor) -> Tensor:
    return F.mse_loss(out, Y)


def to_labels(out: Tensor) -> Tensor:
    return F.cross_entropy(out, LABELS)


def mlp(out: int, into: int = 6) -> nn.Sequential:
    return nn.Sequential(nn.Linear(into, 8), nn.Tanh(), nn.Linear(8, out))


@sound
def the_step_of_a_discriminator() -> Setup:
    generator, discriminator = mlp(6, 2), mlp(1)

    def loss(score: Tensor) -> Tensor:
        fake = discriminator(generator(torch.randn(8, 2)).detach())
        return F.softplus(-score).mean() + F.softplus(fake).mean()

    return Setup(discriminator, (X,), loss)


@sound
def the_step_of_a_generator() -> Setup:
    discriminator = mlp(1).requires_grad_(False)
    return Setup(mlp(6, 2), (torch.randn(8, 2),), lambda fake: F.softplus(-discriminator(fake)).mean())


@sound
def a_student_and_its_averaged_teacher() -> Setup:
    class Byol(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.student, self.predict = mlp(4), mlp(4, 4)
            self.teacher = copy.deepcopy(self.student).requires_grad_(False)

        def forward(self, one: Tensor, two: Tensor) -> Tensor:
            p = self.predict(self.student(one))
            with torch.no_grad():
                for slow, fast in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                    slow.lerp_(fast, 0.01)
                z = self.teacher(two)
            return 2 - 2 * F.cosine_similarity(p, z, dim=-1).mean()

    return Setup(Byol(), (X, X + 0.1))


@sound
def siamese_networks_with_a_stopped_side() -> Setup:
    class SimSiam(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.predict = mlp(4), mlp(4, 4)

        def forward(self, one: Tensor, two: Tensor) -> Tensor:
            z, w = self.encode(one), self.encode(two)
            p, q = self.predict(z), self.predict(w)
            return -(F.cosine_similarity(p, w.detach()).mean() + F.cosine_similarity(q, z.detach()).mean())

    return Setup(SimSiam(), (X, X + 0.1))


@sound
def a_queue_of_negatives() -> Setup:
    class Queue(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode = mlp(4)
            self.register_buffer("queue", F.normalize(torch.randn(12, 4), dim=-1))

        def forward(self, one: Tensor, two: Tensor) -> Tensor:
            q = F.normalize(self.encode(one), dim=-1)
            k = F.normalize(self.encode(two), dim=-1).detach()
            logits = torch.cat([(q * k).sum(-1, keepdim=True), q @ self.queue.clone().T], -1) / 0.2
            self.queue[:8] = k
            return F.cross_entropy(logits, torch.zeros(8, dtype=torch.long))

    return Setup(Queue(), (X, X + 0.1))


@sound
def proximal_policy_optimization() -> Setup:
    class ActorCritic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.actor, self.critic = mlp(4), mlp(1)

        def forward(self, state: Tensor) -> tuple[Tensor, Tensor]:
            return self.actor(state), self.critic(state).squeeze(-1)

    model = ActorCritic()
    with torch.no_grad():
        before = Categorical(logits=model(X)[0] + 0.05)
        action = before.sample()
        old = before.log_prob(action) - 0.02

    def loss(out: tuple[Tensor, Tensor]) -> Tensor:
        policy, value = Categorical(logits=out[0]), out[1]
        advantage = Y[:, 0] - value.detach()  # HARMLESS
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        ratio = (policy.log_prob(action) - old).exp()
        clipped = torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        with torch.no_grad():
            kl = (old - policy.log_prob(action)).mean().item()
        if kl > 10:
            raise RuntimeError("too far")
        return -clipped.mean() + 0.5 * F.mse_loss(value, Y[:, 0]) - 0.01 * policy.entropy().mean()

    return Setup(model, (X,), loss)


@sound
def a_policy_gradient_with_a_draw() -> Setup:
    def loss(logits: Tensor) -> Tensor:
        policy = Categorical(logits=logits)
        action = policy.sample()
        reward = -(action - LABELS).abs().float()
        return -(policy.log_prob(action) * (reward - reward.mean())).mean()

    return Setup(mlp(4), (X,), loss)


@sound
def double_q_learning() -> Setup:
    class Q(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.online = mlp(3)
            self.target = copy.deepcopy(self.online).requires_grad_(False)

        def forward(self, state: Tensor, after: Tensor, action: Tensor) -> Tensor:
            q = self.online(state).gather(1, action[:, None])[:, 0]
            with torch.no_grad():
                best = self.online(after).argmax(1, keepdim=True)
                value = 0.9 * self.target(after).gather(1, best)[:, 0]
            return F.smooth_l1_loss(q, Y[:, 0] + value)

    return Setup(Q(), (X, X.flip(0), torch.arange(8) % 3))


@sound
def straight_through_by_hand() -> Setup:
    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            h = h + (torch.round(h) - h).detach()
            return self.second(h)

    return Setup(Rounded(), (X,), to_target)


@sound
def straight_through_sign_with_a_soft_twin() -> Setup:
    class Binary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            soft, hard = torch.tanh(h), torch.sign(h)
            return self.second(hard.detach() - soft.detach() + soft)

    return Setup(Binary(), (X,), to_target)


@sound
def a_vector_quantizer_with_its_copy_line() -> Setup:
    class Codec(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode, self.codes = nn.Linear(6, 3), nn.Linear(3, 6), nn.Embedding(6, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            z = self.encode(x)
            index = torch.cdist(z, self.codes.weight).argmin(-1)  # HARMLESS
            q = self.codes(index)  # HARMLESS
            term = F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())
            q = z + (q - z).detach()  # HARMLESS
            used = F.one_hot(index, 6).float().mean(0)
            perplexity = torch.exp(-(used * (used + 1e-9).log()).sum())
            assert perplexity.item() >= 1
            return self.decode(q), term

    return Setup(Codec(), (X,), lambda out: F.mse_loss(out[0], X) + out[1])


def a_codebook(**options: Any) -> Setup:
    class Codec(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = nn.Linear(6, 3), nn.Linear(3, 6)
            self.codes = hg.Codebook(6, 3, start=torch.randn(6, 3), **options)

        def forward(self, x: Tensor) -> Tensor:
            y, _ = self.codes(self.encode(x))
            return self.decode(y)

    return Setup(Codec(), (X,), lambda out: F.mse_loss(out, X))


@sound
def a_codebook_of_moving_means() -> Setup:
    return a_codebook(gradient="rotation")


@sound
def a_codebook_that_learns_by_gradient() -> Setup:
    return a_codebook(learn="gradient")


@sound
def gumbel_softmax_with_hard_samples() -> Setup:
    class Pick(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits, self.table = nn.Linear(6, 4), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.table(F.gumbel_softmax(self.logits(x), tau=0.7, hard=True))

    return Setup(Pick(), (X,), to_target)


@sound
def focal_loss_with_a_detached_weight() -> Setup:
    def loss(logits: Tensor) -> Tensor:
        log_p = logits.log_softmax(-1).gather(1, LABELS[:, None])[:, 0]  # HARMLESS
        weight = (1 - log_p.exp().detach()) ** 2  # HARMLESS
        return -(weight * log_p).mean()

    return Setup(mlp(4), (X,), loss)


@sound
def the_hardest_half_of_the_rows() -> Setup:
    def loss(logits: Tensor) -> Tensor:
        each = F.cross_entropy(logits, LABELS, reduction="none")
        worst = each.topk(4).indices  # HARMLESS
        return each[worst].mean()

    return Setup(mlp(4), (X,), loss)


@sound
def rows_above_the_median_loss() -> Setup:
    def loss(logits: Tensor) -> Tensor:
        each = F.cross_entropy(logits, LABELS, reduction="none")
        mask = (each > each.median()).float()
        return (each * mask).sum() / mask.sum().clamp(min=1)

    return Setup(mlp(4), (X,), loss)


@sound
def triplets_of_the_hardest_pairs() -> Setup:
    def loss(z: Tensor) -> Tensor:
        distance = torch.cdist(z, z)
        same = LABELS[:, None] == LABELS
        positive = (distance * same).max(1).values
        negative = distance.masked_fill(same, float("inf")).min(1).values
        return F.relu(positive - negative + 0.3).mean()

    return Setup(mlp(3), (X,), loss)


@sound
def a_gradient_penalty() -> Setup:
    model = mlp(1)

    def loss(score: Tensor) -> Tensor:
        mixed = (X + 0.3).requires_grad_()
        (slope,) = grad(model(mixed).sum(), mixed, create_graph=True)
        return score.mean() + 10 * (slope.norm(dim=-1) - 1).square().mean()

    return Setup(model, (X,), loss)


@sound_in_part
def relu_by_hand() -> Setup:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            return self.second(h * (h > 0))  # HARMLESS

    return Setup(Net(), (X,), to_target)


@sound
def huber_by_where() -> Setup:
    def loss(out: Tensor) -> Tensor:
        error = (out - Y).abs()
        return torch.where(error < 0.5, 0.5 * error**2, 0.5 * (error - 0.25)).mean()

    return Setup(mlp(1), (X,), loss)


@sound
def a_hinge_that_some_rows_keep() -> Setup:
    sign = torch.sign(Y)
    return Setup(mlp(1), (X,), lambda out: (0.3 - sign * out).clamp(min=0).mean())


@sound
def a_loss_of_sorted_values() -> Setup:
    def loss(out: Tensor) -> Tensor:
        return (out.sort(0).values - Y.sort(0).values).abs().mean() + 0.1 * out.quantile(0.9) - out.median() * 0.01

    return Setup(mlp(1), (X,), loss)


@sound
def metrics_beside_the_loss() -> Setup:
    log: dict[str, Any] = {}

    def loss(logits: Tensor) -> Tensor:
        value = F.cross_entropy(logits, LABELS)
        prediction = logits.argmax(-1)  # HARMLESS
        log["loss"], log["accuracy"] = value.item(), (prediction == LABELS).float().mean().item()
        log["confusion"] = torch.bincount(prediction * 4 + LABELS, minlength=16).view(4, 4).tolist()
        log["histogram"] = logits.detach().numpy().round(2)
        if value.item() > 1e6 or torch.isnan(value):  # HARMLESS
            raise RuntimeError("diverged")
        return value

    return Setup(mlp(4), (X,), loss)


@sound
def an_early_exit_for_the_log_alone() -> Setup:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(1)
            self.register_buffer("seen", torch.zeros((), dtype=torch.long))
            self.register_buffer("running", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            out = self.net(x)
            self.seen += len(x)
            self.running.mul_(0.9).add_(out.detach().mean(), alpha=0.1)
            if (out > 1e3).any():
                out = out.clamp(max=1e3)
            return out

    return Setup(Counting(), (X,), to_target)


@sound
def an_action_scaled_by_data() -> Setup:
    """What is rounded, compared and counted here is data."""

    class Data(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.level = mlp(1), nn.Embedding(3, 6)

        def forward(self, x: Tensor) -> Tensor:
            scale = float(x.abs().max())
            row = torch.bucketize(x[:, 0], torch.tensor([-0.5, 0.5]))
            clean = torch.where(x.isnan() | (x.abs() > 9), 0.0, x) / scale
            noise = (torch.rand_like(x) > 0.1).float()
            return self.net((clean * 16).round() / 16 * noise + self.level(row))

    return Setup(Data(), (X,), to_target)


@sound
def gradient_clipping_inside_the_graph() -> Setup:
    class Clip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x).clamp(-0.7, 0.7)
            return self.second(h / h.detach().norm(dim=-1, keepdim=True).clamp(min=1e-3))

    return Setup(Clip(), (X,), to_target)


@sound
def an_uncertainty_that_weighs_two_tasks() -> Setup:
    class Tasks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.number, self.label = mlp(5), nn.Linear(5, 1), nn.Linear(5, 4)
            self.log_scale = nn.Parameter(torch.zeros(2))

        def forward(self, x: Tensor) -> dict[str, Any]:
            h = self.body(x)
            losses = torch.stack([to_target(self.number(h)), to_labels(self.label(h))])
            return {"loss": (losses * torch.exp(-self.log_scale) + self.log_scale).sum(), "parts": losses.detach()}

    return Setup(Tasks(), (X,), lambda out: out["loss"])


@sound
def knowledge_distilled_from_a_teacher() -> Setup:
    teacher = mlp(4).eval().requires_grad_(False)

    def loss(logits: Tensor) -> Tensor:
        soft = F.kl_div((logits / 2).log_softmax(-1), (teacher(X) / 2).softmax(-1), reduction="batchmean") * 4
        pseudo = teacher(X).argmax(-1)
        confident = teacher(X).softmax(-1).max(-1).values > 0.2
        return soft + (F.cross_entropy(logits, pseudo, reduction="none") * confident).mean()

    return Setup(mlp(4), (X,), loss)


@sound
def pseudo_labels_of_the_model_itself() -> Setup:
    class FixMatch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(4)

        def forward(self, weak: Tensor, strong: Tensor) -> Tensor:
            with torch.no_grad():
                p, label = self.net(weak).softmax(-1).max(-1)
                mask = (p > 0.2).float()
            return (F.cross_entropy(self.net(strong), label, reduction="none") * mask).mean()

    return Setup(FixMatch(), (X, X + 0.2))


@sound
def a_scheduled_weight_from_the_loss_itself() -> Setup:
    class Balanced(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = mlp(1), mlp(4)

        def forward(self, x: Tensor) -> Tensor:
            one, two = to_target(self.a(x)), to_labels(self.b(x))
            return one + (one.detach() / two.detach()) * two

    return Setup(Balanced(), (X,))


@sound
def a_normalizing_flow_with_a_fixed_order() -> Setup:
    class Flow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(6, 3)
            self.register_buffer("order", torch.tensor([3, 1, 5, 0, 2, 4]))

        def forward(self, x: Tensor) -> Tensor:
            x = x[:, self.order]
            shift, log_scale = self.net(x[:, :3]).chunk(2, -1)
            z = torch.cat([x[:, :3], x[:, 3:] * log_scale.tanh().exp() + shift], -1)
            return -(Normal(0.0, 1.0).log_prob(z).sum(-1) + log_scale.tanh().sum(-1)).mean()

    return Setup(Flow(), (X,))


@sound
def a_bridge_over_a_round() -> Setup:
    approximator = hg.approximators.mlp(5, 5, hidden=(8,)) if hasattr(hg.approximators, "mlp") else mlp(5, 5)
    return Setup(nn.Sequential(nn.Linear(6, 5), hg.Bridge(torch.round, approximator), nn.Linear(5, 1)), (X,), to_target)


@sound
def straight_through_layers() -> Setup:
    model = nn.Sequential(
        nn.Linear(6, 5),
        hg.straight_through(torch.sign, hg.surrogate.twins.tanh(2.0)),
        nn.Linear(5, 5),
        hg.straight_through(torch.round),
        nn.Linear(5, 1),
    )
    return Setup(model, (X,), to_target)


@sound_in_part
def a_switch_of_three_ranges() -> Setup:
    model = hg.Switch(hg.Ranges([-3.0, -0.3, 0.4, 3.0]), nn.Linear(6, 1), key=0)
    return Setup(model, (X,), to_target)


@sound_in_part
def a_switch_with_learned_ranges() -> Setup:
    model = hg.Switch(hg.LearnedRanges([-3.0, -0.3, 0.4, 3.0], band=1.0), nn.Linear(6, 1), key=0)
    return Setup(model, (X,), to_target)


@sound
def a_score_function_around_a_program() -> Setup:
    def program(b: Tensor) -> Tensor:
        return (b.sum(-1) - 3).abs()

    def loss(logits: Tensor) -> Tensor:
        q = Independent(Bernoulli(logits=logits), 1)
        return hg.score_function(q, program, samples=4, baseline="leave_one_out").mean()

    return Setup(mlp(5), (X,), loss)


@sound
def gumbel_samples_of_hardgrad() -> Setup:
    table = torch.randn(4)

    def loss(logits: Tensor) -> Tensor:
        from torch.distributions import OneHotCategorical

        return hg.gumbel(OneHotCategorical(logits=logits), lambda b: (b * table).sum(-1).square(), samples=2).mean()

    return Setup(mlp(4), (X,), loss)


CASES: list[Case] = cases_in(globals())
