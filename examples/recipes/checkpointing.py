"""Activation checkpointing: the forward runs twice, the penalty counts once.

The problem: ``torch.utils.checkpoint`` forgets the activations of a block and computes them again in the backward. A
hard function that draws, and a bridge's penalty, would then exist twice.

With ``use_reentrant=False`` both are right: the random state is put back for the second run, so a draw is the same
draw; a penalty counts once, and reaches an open ``hg.penalties()`` scope from the first run. The old
``use_reentrant=True`` trains a bridge, but hands nothing to a scope: the bag stays empty there. What the second
run costs is your hard function again: leave a slow program outside the checkpoint.

The one rule: ``use_reentrant=False``.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import hardgrad as hg

CALLS = 0


def noisy_sign(x: Tensor) -> Tensor:
    """A hard function that draws: a sign of x with noise, and counts its calls."""
    global CALLS
    CALLS += 1
    return (x + 0.1 * torch.randn_like(x)).sign()


def new() -> nn.Sequential:
    torch.manual_seed(0)
    bridge = hg.Bridge(noisy_sign, hg.approximators.mlp(8, 8, hidden=(32,)))
    return nn.Sequential(nn.Linear(4, 8), bridge, nn.Linear(8, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))


def gradients(checkpointed: bool, scope: bool) -> list[Tensor]:
    model = new()
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(1))
    run = partial(checkpoint, model, use_reentrant=False) if checkpointed else model
    torch.manual_seed(2)
    if scope:
        with hg.penalties() as bag:
            loss = run(x).square().mean()
        (loss + bag.total()).backward()
    else:
        run(x).square().mean().backward()
    return [p.grad for p in model.parameters()]


for scope in (False, True):
    before = CALLS
    plain = gradients(False, scope)
    once, before = CALLS - before, CALLS
    again = gradients(True, scope)
    assert (once, CALLS - before) == (1, 2)  # it ran a second time
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))  # and no gradient tells of it

model = new()
with hg.penalties() as bag:
    checkpoint(model, torch.randn(32, 4, requires_grad=True), use_reentrant=True)
    assert len(bag) == 0  # the first run of a reentrant checkpoint has no gradient, so it has no penalty

optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(100):
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(step))
    optimizer.zero_grad()
    nn.functional.mse_loss(checkpoint(model, x, use_reentrant=False), x[:, :1].sign()).backward()
    optimizer.step()
assert model[1].fidelity().relative_error < 0.8, model[1].fidelity()
print("the same gradients bit for bit;", model[1].fidelity())
