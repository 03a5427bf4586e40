"""
A temperature trades bias for noise
===================================

A relaxed draw replaces one category of five by a soft mixture. Cold, the mixture is
nearly a category, and the gradient is nearly right and very noisy. Warm, it is calm and
wrong. Here both are measured beside enumeration.
"""

from functools import partial

import matplotlib.pyplot as plt
import torch
from torch.distributions import OneHotCategorical

import hardgrad as hg

torch.manual_seed(0)
start = torch.tensor([0.3, -0.5, 1.0, 0.0, -0.8])
value = torch.tensor([1.0, 0.2, -0.4, 0.8, 1.5])


def cost(b):
    """Return one number for each one-hot draw; between the corners it is bent."""
    return (b @ value - 0.3).square() + (b @ value).sin()


def gradients(estimator, n=20_000):
    """Return n gradients, each from a draw of its own."""
    logits = start.expand(n, 5).clone().requires_grad_()
    estimator(OneHotCategorical(logits=logits), cost).sum().backward()
    return logits.grad


def bias_and_noise(estimator):
    """Return bias and noise of one estimate, in lengths of the true gradient."""
    drawn = gradients(estimator)
    bias = (drawn.mean(0) - truth).norm()
    noise = drawn.var(0).sum().sqrt()
    return bias / truth.norm(), noise / truth.norm()


truth = gradients(hg.exact, 1)[0]
temperatures = torch.logspace(-1, 1, 11)
relaxed, rao = torch.tensor(
    [
        [
            bias_and_noise(partial(estimator, temperature=t))
            for t in temperatures.tolist()
        ]
        for estimator in (partial(hg.gumbel, hard=False), hg.gumbel_rao)
    ]
)
for numbers in (relaxed, rao):
    assert numbers[0, 0] < numbers[-1, 0]  # less bias when cold
    assert numbers[0, 1] > numbers[-1, 1]  # and more noise

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
axes[0].set_title("Relaxed draw (Gumbel-Softmax)")
axes[1].set_title("Hard draw (Gumbel-Rao)")
for axis, numbers in zip(axes, (relaxed, rao), strict=True):
    bias, noise = numbers.T
    least = noise / 20_000**0.5  # what the mean of these draws can show
    axis.loglog(temperatures, noise, "o-", color="C0", label="noise of one estimate")
    axis.loglog(temperatures, bias, "s--", color="C1", label="bias")
    axis.loglog(temperatures, least, ":", color="0.6", label="least bias to be seen")
    axis.set_xlabel("temperature")
bias, noise = bias_and_noise(hg.reinmax)
for axis in axes:
    axis.axhline(noise, color="C2", linewidth=1, label="ReinMax: noise")
    axis.axhline(bias, color="C2", linewidth=1, linestyle=":", label="ReinMax: bias")
axes[0].set_ylabel("share of the true gradient's length")
axes[0].legend(*axes[1].get_legend_handles_labels(), loc="lower left", fontsize=8)
plt.show()

# %%
# Where the two curves cross, bias and noise of a single draw are alike. Averaging over
# many draws lowers the noise and leaves the bias, so the more draws a step has, the
# colder it should be. A hard draw is never without bias; ReinMax has no temperature to
# choose here, and about the bias of the coldest of these.
