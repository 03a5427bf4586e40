"""
Which gradient to trust
=======================

For a function of your own there are several gradients to choose from, and what wins
elsewhere may fail here. ``hg.diagnose`` measures them on your function and your inputs,
beside a truth of its own.
"""

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

# %%
# A function that counts: each of its two outputs is a sum of comparisons of neighbors.


def rises(x):
    """Return how many neighbors rise, and how many more rise than fall by a half."""
    jumps = x.diff(dim=-1)
    return torch.stack(
        [(jumps > 0).sum(-1), (jumps > 0.5).sum(-1) - (jumps < -0.5).sum(-1)], -1
    ).float()


torch.manual_seed(0)
x = torch.randn(16, 6)

# %%
# Candidates by name. The bridge learns for 400 steps first.

candidates = {
    "perturb": hg.perturb(rises, 0.5),
    "perturb, 8 directions": hg.perturb(rises, 0.5, samples=8),
    "bridge": hg.Bridge(rises, hg.approximators.mlp(6, 2, hidden=(64,))),
    "score function": lambda q, f: hg.score_function(
        q, f, samples=8, baseline="leave_one_out"
    ),
}
found = hg.diagnose(candidates, rises, x, warm_up=400, draws=120, budget=20_000)
print(found)

# %%
# The mean gradient of each candidate over the true one, for each of the 96 inputs.
# Right is on the diagonal.

figure, axes = plt.subplots(
    1, 4, figsize=(9, 3.2), sharex=True, sharey=True, layout="constrained"
)
for axis, row in zip(axes, found.rows, strict=True):
    axis.axline((0, 0), slope=1, color="0.5", linewidth=1)
    axis.plot(found.truth.gradient, row.mean, ".", markersize=6)
    axis.set_title(
        f"{row.name}\nbias {row.bias:.2f}\ncosine of one {row.cosine_of_one:.2f}",
        fontsize=10,
    )
    axis.set_xlabel("true gradient")
axes[0].set_ylabel("mean of many")
assert found["score function"].bias < found["bridge"].bias
assert found["score function"].variance > found["bridge"].variance
plt.show()

# %%
# The score function is right on average, and a single gradient of it points only
# roughly that way. The bridge is calmer and less right: its network knows the count
# only roughly. ``perturb`` asks along one random direction a time, so a single gradient
# of it is the noisiest; more directions make it calmer. The advice above weighs both:
# how far a step along one gradient gets.
