"""
Six gradients of a coin toss
============================

Coins are tossed, a program looks at them, and the weights of the coins shall learn from
its verdict. A single toss says little, so estimators differ in how far they scatter,
and some of them aim beside the truth. With eight coins the truth can be counted: 256
outcomes.
"""

from functools import partial

import matplotlib.pyplot as plt
import torch
from torch.distributions import Bernoulli, Independent

import hardgrad as hg

# %%
# The cost: how far the number of heads is from three, and 1 more if the first two coins
# are both heads.

start = torch.tensor([0.5, -0.3, 0.8, -1.0, 0.2, 0.0, -0.6, 0.4])


def cost(b):
    """Return one number for each toss; b: (..., 8)."""
    return (b.sum(-1) - 3).square() / 4 + b[..., 0] * b[..., 1]


estimators = {
    "score function": partial(hg.score_function, samples=4),
    "score function,\nothers left out": partial(
        hg.score_function, samples=4, baseline="leave_one_out"
    ),
    "DisARM": partial(hg.disarm, samples=4),
    "ReinMax": partial(hg.reinmax, samples=4),
    "Gumbel": partial(hg.gumbel, samples=4),
    "straight-through": partial(hg.montecarlo.straight_through_estimator, samples=4),
}


def gradients(estimator, n):
    """Return n gradients: each row of a batch is an estimate of its own."""
    logits = start.expand(n, 8).clone().requires_grad_()
    estimator(Independent(Bernoulli(logits=logits), 1), cost).sum().backward()
    return logits.grad


# %%
# Enumeration, and 4,000 estimates of each, with four tosses apiece.

torch.manual_seed(0)
truth = gradients(hg.exact, 1)[0]
drawn = {name: gradients(estimator, 4000) for name, estimator in estimators.items()}
for name in ("score function", "score function,\nothers left out", "DisARM"):
    error = drawn[name].std(0) / 4000**0.5
    assert ((drawn[name].mean(0) - truth).abs() < 5 * error).all()  # no bias

# %%
figure, axis = plt.subplots(figsize=(9, 4.2), layout="constrained")
axis.set_title("4,000 estimates of the gradient of the first coin's logit")
shapes = axis.violinplot(
    [each[:, 0].numpy() for each in drawn.values()], showextrema=False, widths=0.85
)
for i, (shape, each) in enumerate(zip(shapes["bodies"], drawn.values(), strict=True)):
    shape.set(facecolor="C0" if i < 3 else "C1", alpha=0.5)
    axis.plot(i + 1, each[:, 0].mean(), "o", color="C0" if i < 3 else "C1")
axis.axhline(truth[0], color="black", linestyle=":", label="truth, by enumeration")
axis.plot([], [], "o", color="C0", label="mean; needs values of the cost alone")
axis.plot([], [], "o", color="C1", label="mean; follows the slope of the cost")
axis.set_xticks(range(1, 7), estimators)
axis.set(ylabel="gradient", ylim=(-1.5, 2.0))
axis.legend(loc="lower right")
plt.show()

# %%
# The doctor says the same in numbers, for all eight coins at once: bias, noise, and how
# far a step along the gradient gets.

q = Independent(Bernoulli(logits=start[None]), 1)
compared = {"disarm": hg.disarm, "reinmax": hg.reinmax, "gumbel": hg.gumbel}
print(hg.diagnose(compared, cost, q, draws=9000))

# %%
# In blue: right on average, and noisy. In orange: a quarter of the scatter, but they
# need a cost that has slopes between heads and tails, which a program has not. ReinMax
# is right on this cost, whose terms are of second order at most. Over all eight coins
# straight-through is about a tenth of the truth's length beside it, and Gumbel a third.
