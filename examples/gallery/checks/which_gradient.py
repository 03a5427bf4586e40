"""
Which gradient to trust
=======================

For a function of your own there are several gradients to choose from, and what wins elsewhere may fail here.
``hg.diagnose`` measures them on your function and your inputs, beside a truth of its own.
"""

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

# %%
# A function that counts: each of its two outputs is a sum of comparisons of neighbors.


def rises(x):
    """Return how many neighbors rise, and how many more rise by a half than fall by a half."""
    jumps = x.diff(dim=-1)
    return torch.stack([(jumps > 0).sum(-1), (jumps > 0.5).sum(-1) - (jumps < -0.5).sum(-1)], -1).float()


torch.manual_seed(0)
x = torch.randn(16, 6)

# %%
# Candidates by name. The bridge learns for 400 steps first.

candidates = {
    "perturb": hg.perturb(rises, 0.5),
    "perturb, 8 directions": hg.perturb(rises, 0.5, samples=8),
    "bridge": hg.Bridge(rises, hg.approximators.mlp(6, 2, hidden=(64,))),
    "score function": lambda q, f: hg.score_function(q, f, samples=8, baseline="leave_one_out"),
}
found = hg.diagnose(candidates, rises, x, warm_up=400, draws=120, budget=20_000)
print(found)

# %%
figure, axis = plt.subplots(figsize=(8, 4.2))
axis.set_title(f"Gradients of a count of rises, beside the truth ({found.truth.kind})")
for i, row in enumerate(found.rows):
    noise = row.variance**0.5
    axis.errorbar(noise, row.bias, fmt="oDs^v"[i % 5], color=f"C{i}", markersize=9)
    axis.annotate(row.name, (noise, row.bias), xytext=(8, 6), textcoords="offset points", color=f"C{i}")
axis.set(xlabel="noise of one gradient", ylabel="bias")
plt.show()

# %%
# To the left is calm, below is right. The score function is right on average, and each of its gradients is noisy. The
# bridge is the calmest and points a little beside. ``perturb`` asks along one random direction a time: it needs three
# evaluations of the function and scatters most; more directions make it as calm as the score function. The advice above
# weighs both: how far a step along one gradient gets.
