"""Training steps as users have them: optimizers, several backwards, averaged weights, validation; nothing is broken.

Each maker returns the model to be watched and the step to be run around.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.nn import functional as F

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randn(8, 1, generator=torch.Generator().manual_seed(2))
LABELS = torch.arange(8) % 4

Made = tuple[nn.Module, Callable[[], object]]
STEPS: list[Callable[[], Made]] = []


def step(make: Callable[[], Made]) -> Callable[[], Made]:
    STEPS.append(make)
    return make


def mlp(out: int, into: int = 6) -> nn.Sequential:
    return nn.Sequential(nn.Linear(into, 8), nn.Tanh(), nn.Linear(8, out))


@step
def a_plain_loop() -> Made:
    model = mlp(4)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)

    def run() -> list[float]:
        history = []
        for rows in torch.arange(8).split(4):
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(model(X[rows]), LABELS[rows])
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            assert torch.isfinite(norm)
            optimizer.step()
            schedule.step()
            history.append(loss.item())
        return history

    return model, run


@step
def accumulated_gradients_and_an_average_of_weights() -> Made:
    model = mlp(1)
    slow = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)

    def run() -> None:
        for i, rows in enumerate(torch.arange(8).split(2)):
            (F.mse_loss(model(X[rows]), Y[rows]) / 2).backward()
            if i % 2:
                optimizer.step()
                optimizer.zero_grad()
                with torch.no_grad():
                    for p, q in zip(slow.parameters(), model.parameters(), strict=True):
                        p.mul_(0.9).add_(q, alpha=0.1)

    return model, run


@step
def both_sides_of_a_generative_pair() -> Made:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.draw, self.judge = mlp(6, 2), mlp(1)

    pair = Pair()
    one, two = (torch.optim.Adam(part.parameters(), 1e-3) for part in (pair.judge, pair.draw))

    def run() -> None:
        z = torch.randn(8, 2)
        fake = pair.draw(z)
        one.zero_grad()
        (F.softplus(-pair.judge(X)).mean() + F.softplus(pair.judge(fake.detach())).mean()).backward()
        one.step()
        two.zero_grad()
        F.softplus(-pair.judge(fake)).mean().backward()
        two.step()

    return pair, run


@step
def a_critic_with_clipped_weights_and_a_penalty() -> Made:
    critic = mlp(1)
    optimizer = torch.optim.RMSprop(critic.parameters(), 1e-3)

    def run() -> None:
        fake = torch.randn(8, 6)
        mixed = (X * 0.5 + fake * 0.5).requires_grad_()
        (slope,) = grad(critic(mixed).sum(), mixed, create_graph=True)
        loss = critic(fake).mean() - critic(X).mean() + 10 * (slope.norm(dim=1) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for p in critic.parameters():
            p.data.clamp_(-0.5, 0.5)

    return critic, run


@step
def a_step_and_a_validation() -> Made:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 4))
    optimizer = torch.optim.Adam(model.parameters())
    best: dict[str, Tensor] = {}

    def run() -> float:
        model.train()
        optimizer.zero_grad()
        F.cross_entropy(model(X), LABELS).backward()
        optimizer.step()
        model.eval()
        with torch.inference_mode():
            logits = model(X)
            accuracy = (logits.argmax(1) == LABELS).float().mean().item()
        if accuracy > 0.1:
            best.update({name: value.detach().cpu().clone() for name, value in model.state_dict().items()})
        return accuracy

    return model, run


@step
def a_step_to_the_sharpest_place_and_back() -> Made:
    model = mlp(1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def run() -> None:
        F.mse_loss(model(X), Y).backward()
        with torch.no_grad():
            norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
            moves = [0.05 * p.grad / norm for p in model.parameters()]
            for p, move in zip(model.parameters(), moves, strict=True):
                p.add_(move)
        optimizer.zero_grad()
        F.mse_loss(model(X), Y).backward()
        with torch.no_grad():
            for p, move in zip(model.parameters(), moves, strict=True):
                p.sub_(move)
        optimizer.step()

    return model, run


@step
def a_closure_of_a_second_order_method() -> Made:
    model = nn.Linear(6, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.mse_loss(model(X), Y)
        loss.backward()
        return loss

    return model, lambda: optimizer.step(closure)


@step
def scaled_losses_of_mixed_precision() -> Made:
    model = mlp(4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=128.0)

    def run() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(X), LABELS)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()

    return model, run


@step
def an_actor_and_its_critic_over_time() -> Made:
    class ActorCritic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.actor, self.critic = mlp(3, 4), mlp(1, 4)

    model = ActorCritic()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)

    def run() -> None:
        state, log_ps, values, rewards = torch.zeros(4), [], [], []
        for _ in range(5):
            policy = torch.distributions.Categorical(logits=model.actor(state))
            action = policy.sample()
            log_ps.append(policy.log_prob(action))
            values.append(model.critic(state))
            state = (state + 0.1 * (action.item() - 1)).tanh()
            rewards.append(float(state.sum()))
        back, returns = 0.0, []
        for reward in reversed(rewards):
            back = reward + 0.9 * back
            returns.insert(0, back)
        value, goal = torch.cat(values), torch.tensor(returns)
        advantage = goal - value.detach()
        loss = -(torch.stack(log_ps) * advantage).mean() + F.mse_loss(value, goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return model, run


@step
def two_backwards_through_one_graph() -> Made:
    model = mlp(2)

    def run() -> None:
        out = model(X)
        out[:, 0].square().mean().backward(retain_graph=True)
        out[:, 1].abs().mean().backward()

    return model, run


@step
def meta_learning_with_an_inner_step() -> Made:
    model = mlp(1)
    optimizer = torch.optim.Adam(model.parameters())

    def run() -> None:
        weights = dict(model.named_parameters())
        inner = F.mse_loss(torch.func.functional_call(model, weights, (X[:4],)), Y[:4])
        slopes = grad(inner, list(weights.values()), create_graph=True)
        fast = {name: w - 0.1 * s for (name, w), s in zip(weights.items(), slopes, strict=True)}
        optimizer.zero_grad()
        F.mse_loss(torch.func.functional_call(model, fast, (X[4:],)), Y[4:]).backward()
        optimizer.step()

    return model, run
