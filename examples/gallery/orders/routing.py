"""
Whom to ask
===========

Three experts each know one region of a plane, and every row may ask one of them. A
router shall learn whom. In training it draws an expert and learns from the error of
that answer alone; in use it takes the largest score, an argmax.
"""

from functools import partial

import matplotlib.pyplot as plt
import torch
from torch.distributions import OneHotCategorical

import hardgrad as hg

# %%
# An expert's error is small in its own region and about 1 outside, with noise. It could
# be a program's, or a person's: the router sees the value for the expert that was
# asked, and nothing else.

torch.manual_seed(0)
corners = torch.tensor([[1.0, 0.2], [-0.8, 0.8], [-0.3, -1.0]])


def region(x):
    """Return whose region each row is in."""
    return (x @ corners.T).argmax(-1)


def error(asked, x):
    """Return each row's error; asked: one-hot, (draws, rows, 3)."""
    wrong = (asked.argmax(-1) != region(x)).float()
    return (wrong + 0.5 * torch.randn_like(wrong)).square()


# %%
# Two draws a row; each is the baseline of the other.

router = torch.nn.Sequential(
    torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)
)
optimizer = torch.optim.Adam(router.parameters(), lr=0.02)
grid = torch.cartesian_prod(*[torch.linspace(-2, 2, 120)] * 2)
pictures = {}
for step in range(101):
    if step in (0, 10, 100):
        with torch.no_grad():
            chosen = hg.hard.one_hot_argmax(router(grid)).argmax(1)
        right = (chosen == region(grid)).float().mean()
        pictures[f"step {step}: {right:.0%} right"] = chosen
    x = 4 * torch.rand(256, 2) - 2
    q = OneHotCategorical(logits=router(x))
    loss = hg.score_function(
        q, partial(error, x=x), samples=2, baseline="leave_one_out"
    ).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
assert right > 0.9

# %%
pictures["true regions"] = region(grid)
figure, axes = plt.subplots(1, 4, figsize=(9, 2.9), sharey=True, layout="constrained")
for axis, (title, chosen) in zip(axes, pictures.items(), strict=True):
    axis.imshow(
        chosen.view(120, 120).T.numpy(),
        extent=(-2, 2, -2, 2),
        origin="lower",
        vmin=0,
        vmax=2,
    )
    axis.set(title=title, xlabel="first input")
axes[0].set_ylabel("second input")
plt.show()

# %%
# Each color is an expert. No expert has a gradient, and no row needs to know what the
# others would have answered: the score function needs values alone. Experts that learn
# at the same time are another, harder matter: router and experts then often agree early
# on regions that are wrong.
