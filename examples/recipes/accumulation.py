"""Gradient accumulation: several small batches, one step, and penalties that must be divided like the loss.

The problem: a loop that accumulates N batches divides each loss by N. A bridge that trains itself does not see that
division: its penalty has a gradient of one in every backward. After N batches its approximator holds N times the
gradient of one large batch, while the task holds the right one.

Under Adam alone that changes little. With SGD, weight decay, or a clipped norm it changes what is learned.

The one rule: open ``hg.penalties()`` around each forward and divide ``task + bag.total()``.
"""

import torch
from torch import Tensor, nn

import hardgrad as hg

PARTS = 4


def new() -> nn.Sequential:
    torch.manual_seed(0)
    bridge = hg.Bridge(hg.hard.sort, hg.approximators.mlp(6, 6, hidden=(32,)))
    return nn.Sequential(nn.Linear(6, 6), bridge, nn.Linear(6, 1)).double()


def batch(step: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
    return x, x.median(1, keepdim=True).values


def accumulate(model: nn.Module, x: Tensor, target: Tensor) -> None:
    for part, its_target in zip(x.chunk(PARTS), target.chunk(PARTS), strict=True):
        with hg.penalties() as bag:
            task = nn.functional.mse_loss(model(part), its_target)
        ((task + bag.total()) / PARTS).backward()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters()}


x, target = batch(0)
whole = new()
nn.functional.mse_loss(whole(x), target).backward()

right = new()
accumulate(right, x, target)
torch.testing.assert_close(gradients(right), gradients(whole))  # every weight, the approximator's included

wrong = new()  # without the scope: the loss is divided, the penalty is not
for part, its_target in zip(x.chunk(PARTS), target.chunk(PARTS), strict=True):
    (nn.functional.mse_loss(wrong(part), its_target) / PARTS).backward()
for name, gradient in gradients(wrong).items():
    times = PARTS if "approximator" in name else 1
    torch.testing.assert_close(gradient, times * gradients(whole)[name])

model = new()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(150):
    optimizer.zero_grad()
    accumulate(model, *batch(step))
    optimizer.step()
assert model[1].fidelity().relative_error < 0.3, model[1].fidelity()
print("the approximator after 150 accumulated steps:", model[1].fidelity())
