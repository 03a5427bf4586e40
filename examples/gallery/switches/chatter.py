"""
Chatter and clicks
==================

A key that trembles on a point makes a switch change its branch many times a second, and
every change is a jump in what comes out. Hysteresis leaves a range late; a cross-fade
turns what is left of the jumps into slopes.
"""

import matplotlib.pyplot as plt
import torch

import hardgrad as hg


class Constant(torch.nn.Module):
    """A branch that returns one number."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return torch.full_like(x, self.value)


# %%
# A level that rises, falls and trembles; two points, so three ranges.

torch.manual_seed(0)
time = torch.arange(600)
level = torch.sin(time / 95) + 0.08 * torch.randn(600)
key = level[None]
plain = hg.Ranges([-1.5, -0.3, 0.5, 1.5])
late = hg.Hysteresis(plain, margin=0.25)
branches = [Constant(0.0), Constant(1.0), Constant(2.0)]
faded = hg.CrossFade(hg.Switch(late, branches), length=25)

taken = {"Ranges": plain(key)[0], "Hysteresis": late(key)[0]}
smooth, _ = faded(torch.zeros_like(key), key)
changes = {name: int((index.diff() != 0).sum()) for name, index in taken.items()}
assert changes["Hysteresis"] == 4 < changes["Ranges"]
assert smooth.diff().abs().max() < 1.001 / 26  # a step is one share of the fade

# %%
rows = {"height_ratios": (2, 1, 1, 1)}
figure, axes = plt.subplots(
    4, 1, figsize=(8, 6), sharex=True, gridspec_kw=rows, layout="constrained"
)
axes[0].set_title("A trembling key")
axes[0].plot(time, level, color="0.4", linewidth=1)
for point in (-0.3, 0.5):
    axes[0].axhline(point, color="C0", linestyle=":")
    axes[0].axhspan(point - 0.25, point + 0.25, color="C0", alpha=0.12, linewidth=0)
axes[0].set_ylabel("key")
for axis, name, color in zip(axes[1:3], taken, ("C1", "C0"), strict=True):
    axis.set_title(f"{name}: {changes[name]} changes")
    axis.plot(time, taken[name], color=color, drawstyle="steps-post", linewidth=1)
    axis.set(ylabel="branch", yticks=[0, 1, 2])
axes[3].set_title("Hysteresis and CrossFade over 25 steps")
axes[3].plot(time, smooth[0], color="C2")
axes[3].set(xlabel="time step", ylabel="output", yticks=[0, 1, 2])
plt.show()

# %%
# Shaded: the margin. A range is left only beyond it, so the tremble changes nothing.
# The fade blends the branch that was left and the one that was entered, by their shares
# of the last 26 steps.
