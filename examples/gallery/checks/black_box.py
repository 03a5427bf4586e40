"""
A program with two knobs
========================

A NumPy program has two knobs and returns one number. It knows nothing of torch, and its
answer comes in steps. ``hg.BlackBox`` makes a layer of it. Two ways to give that layer
a gradient: pairs of calls, and a network that learns the program.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import hardgrad as hg

# %%
# The program: an oven, say. Its answer is rounded to twentieths.


def oven(knobs):
    """Return what is wrong with the bread; knobs: two numbers."""
    heat, time = knobs
    burnt = np.maximum(heat + time - 1.4, 0) ** 2
    raw = (heat * time - 0.25) ** 2
    return np.round(20 * (burnt + 8 * raw + 0.3 * (heat - 0.7) ** 2)) / 20


box = hg.BlackBox(lambda row: np.atleast_1d(oven(row)), low=0.0, high=1.0)

# %%
# ``hg.perturb`` asks the program at a step of 0.1 to both sides: over less, the
# rounding hides the slope. The network looks at the program first, at random settings
# of the knobs.

torch.manual_seed(0)
network = hg.approximators.mlp(2, 1, hidden=(64, 64))
bridge = hg.Bridge(box, network)
optimizer = torch.optim.Adam(bridge.parameters(), lr=0.01)
for _ in range(250):
    with hg.penalties() as bag:
        bridge(torch.rand(32, 2))
    optimizer.zero_grad()
    bag.total().backward()
    optimizer.step()
shown = box.calls

# %%
# Then the network stands still, as the soft twin of the program, and both go down for
# 80 steps from four starts. Asked about these four points alone, it would forget the
# rest.

starts = torch.tensor([[0.05, 0.05], [0.95, 0.9], [0.1, 0.95], [0.95, 0.05]])


def descend(layer):
    """Return the path of the knobs, and how often the program ran."""
    knobs = torch.nn.Parameter(starts.clone())
    optimizer = torch.optim.Adam([knobs], lr=0.02)
    path, calls = [starts], box.calls
    for _ in range(80):
        optimizer.zero_grad()
        layer(knobs).sum().backward()
        optimizer.step()
        knobs.data.clamp_(0, 1)
        path.append(knobs.detach().clone())
    return torch.stack(path), box.calls - calls


path, calls = descend(hg.straight_through(box, soft=network.requires_grad_(False)))
runs = {"perturb": descend(hg.perturb(box, 0.1)), "network": (path, calls + shown)}

# %%
# The truth is a table of the program over both knobs.

axis = np.linspace(0, 1, 201)
table = oven(np.meshgrid(axis, axis))
best = table.min()
figure, axes = plt.subplots(
    1, 2, figsize=(9, 4.4), sharex=True, sharey=True, layout="constrained"
)
for panel, (name, (path, calls)) in zip(axes, runs.items(), strict=True):
    reached = [float(oven(knobs)) for knobs in path[-1].numpy()]
    assert np.median(reached) < best + 0.05
    panel.contourf(
        axis, axis, table, levels=[0, 0.04, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2], cmap="Greys"
    )
    for i in range(4):
        panel.plot(*path[:, i].T, color="C1", linewidth=2)
        panel.plot(*path[0, i], "o", color="C0")
        panel.plot(
            *path[-1, i], "*", color="C1", markersize=13, markeredgecolor="white"
        )
    panel.set_title(f"{name}: {calls:,} calls, ends at {np.mean(reached):.2f} by mean")
    panel.set_xlabel("heat")
axes[0].set_ylabel("time")
plt.show()

# %%
# Shades: the program's answer, which is a staircase; white is best. Circles: starts.
# Stars: ends. With two knobs, pairs of calls are all one needs. The network asked nine
# times as often before it knew the way, and one start ends in a corner that it has
# misjudged. It pays where many numbers go in, and pairs of calls tell too little of
# each.
