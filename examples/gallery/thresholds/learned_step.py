"""
Two bits, with a step that learns
=================================

A weight of two bits is one of four levels, s times -2, -1, 0 or 1. Which s? Too small
cuts off the large weights, too large rounds the small ones to zero. ``hg.LearnedScale``
learns s with everything else.
"""

import matplotlib.pyplot as plt
import torch
from torch.nn.utils.parametrize import register_parametrization

import hardgrad as hg

# %%
# A small network learns to imitate a hidden one. Both of its layers have weights of two
# bits, and the first steps are given; they either stay what they were or learn.

torch.manual_seed(0)
teacher = torch.nn.Sequential(
    torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1)
)
x = torch.randn(512, 8)
y = teacher(x).detach() / teacher(x).std().detach()


def train(start, learn):
    """Return the share of the variance left at the end, and the first layer."""
    torch.manual_seed(1)
    net = torch.nn.Sequential(
        torch.nn.Linear(8, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1)
    )
    for layer in (net[0], net[2]) if start else ():
        register_parametrization(layer, "weight", hg.LearnedScale(2, start=start))
        layer.parametrizations.weight[0].scale.requires_grad_(learn)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(200):
        loss = (net(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses[-20:]) / 20, net[0]


starts = [0.02, 0.05, 0.1, 0.2, 0.4]
kept = [train(start, learn=False)[0] for start in starts]
trained = [train(start, learn=True) for start in starts]
learned = [loss for loss, _ in trained]
whole, _ = train(None, learn=False)
assert max(learned) < 0.5 * max(kept)

# %%
layer = trained[2][1]
weight = layer.parametrizations.weight.original.detach()
step = layer.parametrizations.weight[0].step.item()
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.set_title("Weights behind four levels")
left.hist(weight.flatten(), bins=60, color="0.7")
for level in (-2, -1, 0, 1):
    left.axvline(level * step, color="C0")
left.set(xlabel="weight before it is quantized; lines: the levels", ylabel="weights")
right.set_title("Loss after 200 steps")
right.loglog(starts, kept, "s--", color="C1", label="step kept from the start")
right.loglog(starts, learned, "o-", color="C0", label="step learned")
right.axhline(whole, color="0.5", linestyle=":", label="weights of 32 bits")
right.set(xlabel="first step s", ylabel="share of the variance left", ylim=(None, 15))
right.set_xticks(starts, starts)
right.minorticks_off()
right.legend(loc="upper center")
plt.show()

# %%
# Kept steps have a narrow best place that nobody knows beforehand. Learned ones end at
# about the same loss from wherever they start. A start of 0.8 spoils both: there all
# weights round to zero, and no gradient comes back. What two bits cost against whole
# weights is the distance to the dotted line.
