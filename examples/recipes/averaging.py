"""EMA and SWA: an average of weights, and what to do with the approximators in it.

The problem: ``AveragedModel`` keeps a second copy of the model and averages its weights. A hard layer is happy with
that: the average is an ordinary model, and in ``eval()`` its hard functions run exactly. The approximators in the copy
are never used, since it is only evaluated.

Tempting, and wrong, is to average ``hg.strip(model)``: the copy has fewer weights than the model, ``AveragedModel``
pairs them by position, and from the first approximator on it averages weights with those of other layers. Where shapes
agree nothing is said.

The one rule: average the whole model, then ``hg.strip`` the average. Leave ``use_buffers=False`` with a switch: its
buffers are counts of visits, not weights.
"""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

import hardgrad as hg


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Linear(4, 8)
        self.signs = hg.Bridge(hg.hard.sign, hg.approximators.mlp(8, 8, hidden=(32,)))
        self.choose = hg.Switch(hg.Ranges([0.0, 0.5, 1.0, 2.0]), nn.Linear(8, 1))

    def forward(self, x: Tensor, key: Tensor) -> Tensor:
        return self.choose(self.signs(self.before(x)), key=key)


def rows(step: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    x, key = torch.randn(64, 4, generator=generator), torch.rand(64, generator=generator)
    target = torch.where(key < 0.5, x[:, 0].sign(), -x[:, 1].sign()) + 0.5 * torch.randn(64, generator=generator)
    return x, key, target.unsqueeze(1)


torch.manual_seed(0)
model = Model()
ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.95))
swa = AveragedModel(model, multi_avg_fn=get_swa_multi_avg_fn())
optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
never = [p.clone() for p in model.choose.branch(2).parameters()]
seen = []
for step in range(300):
    x, key, target = rows(step)
    optimizer.zero_grad()
    nn.functional.mse_loss(model(x, key), target).backward()
    optimizer.step()
    ema.update_parameters(model)
    if step >= 200:
        swa.update_parameters(model)
        seen.append(model.before.weight.detach().clone())

torch.testing.assert_close(swa.module.before.weight, torch.stack(seen).mean(0))
errors = {}
for name, found in {"last": model, "ema": ema.module, "swa": swa.module}.items():
    deployed = hg.strip(found).eval()
    assert not any("approximator" in key for key in deployed.state_dict())
    losses = []
    for step in range(1000, 1020):
        x, key, target = rows(step)
        with torch.no_grad():
            y = deployed(x, key)
            assert torch.equal(y, found.eval()(x, key))  # the approximators had no say in it
            assert deployed.signs(deployed.before(x)).abs().eq(1).all()  # averaged weights, exact signs
        losses.append(nn.functional.mse_loss(y, target).item())
    errors[name] = sum(losses) / len(losses)
assert errors["ema"] < errors["last"], errors
assert errors["swa"] < errors["last"], errors
# A branch that nobody visited is an average of one value. Its mean is that value to the last bits, not bit for bit.
for average in (ema, swa):
    for p, first in zip(average.module.choose.branch(2).parameters(), never, strict=True):
        torch.testing.assert_close(p, first, rtol=1e-6, atol=1e-6)
print("held-out error:", {name: round(error, 3) for name, error in errors.items()})
