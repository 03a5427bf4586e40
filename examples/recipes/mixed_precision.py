"""bf16 and fp16: autocast, loss scaling, and the one place where a penalty has to know of it.

The problem: under fp16 a GradScaler multiplies the loss by a large number before ``backward()`` and divides every
gradient by it before the step. A bridge that trains itself gives its penalty a gradient of one, whatever the loss is
multiplied by. So the division leaves its approximator a gradient that is thousands of times too small.

Adam hides most of that, since it divides by the gradient's size; SGD does not move the approximator at all. bf16 needs
no scaler and no care. Hard functions give exactly the value they give in the tensor's own dtype.

The one rule: with a GradScaler, open ``hg.penalties()`` and scale ``task + bag.total()``; with bf16 change nothing.
"""

import torch
from torch import Tensor, nn

import hardgrad as hg


def new() -> nn.Sequential:
    torch.manual_seed(0)
    bridge = hg.Bridge(hg.hard.sign, hg.approximators.mlp(8, 8, hidden=(32,)))
    return nn.Sequential(nn.Linear(4, 8), bridge, nn.Linear(8, 1))


def batch(step: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(step))
    return x, x[:, :1].sign()


def loss_of(model: nn.Module, step: int, dtype: torch.dtype) -> Tensor:
    x, target = batch(step)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        return nn.functional.mse_loss(model(x).float(), target)  # losses in single precision


def gradient(model: nn.Sequential) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model[1].approximator.parameters()])


# The approximator's gradient after unscaling, beside that of single precision.
plain = new()
loss_of(plain, 0, torch.float32).backward()
found = {}
for owned in (True, False):
    model = new()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    if owned:
        with hg.penalties() as bag:
            loss = loss_of(model, 0, torch.float16)
        loss = loss + bag.total()
    else:  # what a loop does that knows of no penalties
        loss = loss_of(model, 0, torch.float16)
    scaler.scale(loss).backward()
    scaler.unscale_(torch.optim.SGD(model.parameters()))
    found[owned] = (gradient(model).norm() / gradient(plain).norm()).item()
assert abs(found[True] - 1) < 0.02, found
assert abs(found[False] * 2**12 - 1) < 0.02, found  # too small by the whole scale

# fp16: the loop.
model = new()
optimizer, scaler = torch.optim.Adam(model.parameters(), lr=1e-2), torch.amp.GradScaler("cpu")
for step in range(150):
    optimizer.zero_grad()
    with hg.penalties() as bag:
        loss = loss_of(model, step, torch.float16)
        scaler.scale(loss + bag.total()).backward()
    scaler.step(optimizer)
    scaler.update()
assert model[1].fidelity().relative_error < 0.6, model[1].fidelity()
print("fp16", loss.item(), model[1].fidelity())

# bf16: an unchanged loop under autocast.
model = new()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(150):
    optimizer.zero_grad()
    loss = loss_of(model, step, torch.bfloat16)
    loss.backward()
    optimizer.step()
assert model[1].fidelity().relative_error < 0.6, model[1].fidelity()
assert all(p.dtype == torch.float32 for p in model.parameters())
print("bf16", loss.item(), model[1].fidelity())
