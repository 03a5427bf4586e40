"""
Codes that nobody takes
=======================

A codebook replaces each vector by the nearest of its codes. Codes that start far from
the data are never the nearest, so they never move. ``usage()`` shows them; a start from
the data and revival bring them back.
"""

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

# %%
# Points on two arcs, and thirty-two codes. One layer starts from normal numbers and
# never revives a code. The other is ``hg.Codebook`` as it comes: k-means of the first
# batch, and codes that are hardly taken begin anew.


def arcs(n):
    """Return points on two arcs."""
    angle, lower = torch.rand(n) * torch.pi, torch.arange(n) % 2
    x = torch.stack(
        [angle.cos() + lower, angle.sin() * (1 - 2 * lower) + 0.5 * lower], 1
    )
    return x + 0.07 * torch.randn(n, 2)


def train(**options):
    """Return a codebook after 300 batches."""
    torch.manual_seed(1)
    layer = hg.Codebook(32, 2, decay=0.9, **options)
    for _ in range(300):
        layer(arcs(256))
    return layer


layers = {
    "normal start, no revival": train(start="normal", revive=None),
    "as it comes": train(),
}

# %%
x = arcs(1500)
figure, axes = plt.subplots(
    1, 2, figsize=(9, 3.8), sharex=True, sharey=True, layout="constrained"
)
errors = []
for axis, (name, layer) in zip(axes, layers.items(), strict=True):
    usage = layer.usage()
    y, _ = layer.eval()(x)
    errors.append((y - x).square().sum(1).mean().sqrt().item())
    codes, dead = layer.codes(torch.arange(32)).detach(), usage.counts.flatten() == 0
    axis.scatter(*x.T, s=3, color="0.75", linewidths=0)
    axis.scatter(*codes[~dead].T, s=35, color="C0", label="taken")
    axis.scatter(*codes[dead].T, s=45, marker="x", color="C1", label="never taken")
    axis.set_title(f"{name}:\n{usage.dead} of 32 codes dead, error {errors[-1]:.3f}")
axes[0].legend(loc="center right", bbox_to_anchor=(1, 0.8))
for axis in axes:
    axis.set_xlabel("first number")
axes[0].set_ylabel("second number")
assert (
    layers["as it comes"].usage().dead
    == 0
    < layers["normal start, no revival"].usage().dead
)
assert errors[1] < errors[0]
plt.show()

# %%
# With all codes at work the distance from a point to its code falls. A loss curve would
# not have told which codes are dead.
