"""
Nothing is left behind
======================

The networks that lend gradients are for training. In ``eval()`` they do not run, and
``hg.strip`` returns a copy of the model without them: the same outputs, bit for bit,
from the hard functions alone.
"""

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

# %%
# Two hard layers, each with its bridge, trained for a moment.

torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Linear(16, 16),
    hg.Bridge(hg.hard.sign, hg.approximators.elementwise(32)),
    torch.nn.Linear(16, 16),
    hg.Bridge(hg.hard.sort, hg.approximators.mlp(16, 16, hidden=(128, 128))),
    torch.nn.Linear(16, 1),
)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(50):
    x = torch.randn(64, 16)
    optimizer.zero_grad()
    (model(x)[:, 0] - x.amax(1)).square().mean().backward()
    optimizer.step()

# %%
# The same batch through the model in training, in evaluation, and stripped.

batch = torch.randn(256, 16)
deployed = hg.strip(model).eval()
trained = model.train()(batch).detach()
evaluated = model.eval()(batch).detach()
stripped = deployed(batch).detach()
assert torch.equal(trained, evaluated)
assert torch.equal(evaluated, stripped)


def weights(module):
    """Return how many numbers a module has that learn."""
    return sum(p.numel() for p in module.parameters())


own = sum(weights(model[i]) for i in (0, 2, 4))
assert weights(deployed) == own < weights(model)
assert not any("approximator" in name for name in deployed.state_dict())

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.set_title("256 outputs, before and after strip")
left.plot(trained[:, 0], stripped[:, 0], "o", markersize=4, alpha=0.5)
left.axline((stripped.mean(),) * 2, slope=1, color="0.5", linestyle=":")
largest = (trained - stripped).abs().max().item()
left.text(0.05, 0.9, f"largest difference: {largest:g}", transform=left.transAxes)
left.set(xlabel="in training", ylabel="stripped")
right.set_title("Weights")
approximators = weights(model) - own
right.bar(["trained", "stripped"], [own, own], color="C0", label="the model's own")
right.bar(
    ["trained"],
    [approximators],
    bottom=[own],
    color="C1",
    hatch="//",
    edgecolor="white",
    label="approximators",
)
for place, total in enumerate((weights(model), own)):
    right.text(place, total, f"{total:,}", ha="center", va="bottom")
right.legend()
plt.show()

# %%
# The stripped model pickles, compiles and exports as if there had never been a bridge.

exported = torch.export.export(deployed, (batch,)).module()
assert torch.equal(exported(batch), trained)
