"""
A rank correlation as the loss
==============================

Ratings whose scale nobody knows, some of them absurd: only their order can be trusted.
A squared error chases the scale. ``hg.losses.spearman`` is 1 less Spearman's rank
correlation, so it sees the order alone.
"""

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

# %%
# A quality that is linear in ten features is reported on a bent scale, with noise; one
# report in twenty is a hundred times too large.

torch.manual_seed(0)
features, direction = (
    torch.randn(1000, 10),
    torch.nn.functional.normalize(torch.randn(10), dim=0),
)
quality = features @ direction
report = torch.exp(2 * quality) + 0.1 * torch.rand(1000)
report = torch.where(torch.rand(1000) < 0.05, 100 * report, report)


def train(loss_of):
    """Return the weights of a linear score."""
    weight = torch.nn.Parameter(0.1 * torch.ones(10))
    optimizer = torch.optim.Adam([weight], lr=0.02)
    for _ in range(250):
        rows = torch.randint(1000, (100,))
        optimizer.zero_grad()
        loss_of(features[rows] @ weight, report[rows]).backward()
        optimizer.step()
    return weight.detach()


trained = {
    "squared error": train(torch.nn.functional.mse_loss),
    "Spearman": train(hg.losses.spearman),
}

# %%
# The truth is known here: the quality itself, on rows that were not trained on.

features = torch.randn(1000, 10)
quality = features @ direction
figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
found = []
for axis, name, color in zip(axes, trained, ("C1", "C0"), strict=True):
    score = features @ trained[name]
    found.append(1 - hg.losses.spearman(score, quality).item())
    axis.scatter(
        score / score.std(), quality, s=8, alpha=0.5, color=color, linewidths=0
    )
    axis.set_title(f"trained by {name}: rank correlation {found[-1]:.3f}")
    axis.set_xlabel("score, scaled")
axes[0].set_ylabel("true quality, unseen rows")
assert found[1] > 0.98 > found[0]
plt.show()

# %%
# The order is found almost exactly, although no report was right. The value of the loss
# is the metric itself; its gradient is that of softly compared ranks.
