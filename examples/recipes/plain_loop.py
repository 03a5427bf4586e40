"""A plain training loop with everything in its place: seeds, clipping, checkpoints, resuming, the model to deploy.

The problem: each row passes a layer that rounds, then one of three networks that its level chooses. Neither has a
gradient of its own.

With hard layers, watch the clipping. The norm of all gradients together is mostly the approximator's: its penalty has
weight 10 and is large at the start. Clipped together, the task would take tiny steps until the approximator is good.

The one rule: clip the approximators apart from the rest, save model and optimizer together, deploy ``hg.strip(model)``.
"""

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

import hardgrad as hg


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Linear(4, 8)
        self.rounded = hg.Bridge(hg.hard.round, hg.approximators.elementwise())
        branch = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
        self.choose = hg.Switch(hg.Ranges([-1.0, 0.0, 1.0, 2.0]), branch)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return self.choose(self.rounded(self.before(x)), key=level)


def new() -> tuple[Model, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = Model()
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2)


def batch(step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of one step, the same whenever they are asked for; no level is above 1."""
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(64, 4, generator=generator)
    level = torch.rand(64, generator=generator) * 2 - 1
    return x, level, torch.where(level < 0, x[:, 0], -x[:, 1]).unsqueeze(1)


def train(model: Model, optimizer: torch.optim.Optimizer, steps: range) -> None:
    approximators = list(model.rounded.approximator.parameters())
    apart = {id(p) for p in approximators}
    others = [p for p in model.parameters() if id(p) not in apart]
    model.train()
    for step in steps:
        x, level, target = batch(step)
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x, level), target).backward()  # the bridge trains itself: no penalty to add
        nn.utils.clip_grad_norm_(approximators, 1.0)
        nn.utils.clip_grad_norm_(others, 1.0)
        optimizer.step()


model, optimizer = new()
start = {name: p.clone() for name, p in model.named_parameters()}
train(model, optimizer, range(200))

with tempfile.TemporaryDirectory() as folder:  # the same training, in two sittings
    first, its_optimizer = new()
    train(first, its_optimizer, range(80))
    torch.save({"model": first.state_dict(), "optimizer": its_optimizer.state_dict()}, Path(folder) / "80.pt")
    saved = torch.load(Path(folder) / "80.pt", weights_only=True)
resumed, its_optimizer = new()
resumed.load_state_dict(saved["model"])
its_optimizer.load_state_dict(saved["optimizer"])
train(resumed, its_optimizer, range(80, 200))
assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))

deployed = hg.strip(model).eval()
x, level, target = batch(10_000)  # rows that nobody trained on
with torch.no_grad():
    assert torch.equal(deployed(x, level), model.eval()(x, level))
    error = nn.functional.mse_loss(deployed(x, level), target).item()
assert error < 0.5 * target.var().item(), error
assert model.rounded.fidelity().relative_error < 0.5, model.rounded.fidelity()
never = [name for name, p in model.named_parameters() if name.startswith("choose.branches.2.")]
assert len(never) == 4
assert all(torch.equal(start[name], model.get_parameter(name)) for name in never)  # weight decay included
print(f"error on new rows {error:.3f} of {target.var():.3f}; {model.rounded.fidelity()}")
