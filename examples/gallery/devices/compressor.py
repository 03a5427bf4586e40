"""
The settings of a compressor, from what it did
==============================================

A compressor turns a sound down where it is loud. Given a sound before and after, its
threshold, ratio, attack and release can be found by gradient descent, because the
gradient through its hard decisions is exact.
"""

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

# %%
# A sound of bursts, and a compressor whose settings are to be found. 8,000 samples a
# second keep it quick.

torch.manual_seed(0)
rate = 8000
loudness = 10 ** (torch.tensor([-30, -6, -20, -12, -26, -3, -16, -9]) / 20)
sound = (torch.randn(8, 500) * loudness[:, None]).flatten()[None, None]
true = {"threshold_db": -24.0, "ratio": 4.0, "attack_ms": 3.0, "release_ms": 40.0}
with torch.no_grad():
    wanted, _ = hg.Compressor(**true, sample_rate=rate, learn=False)(sound)

# %%
# Ours starts somewhere else. Four numbers and an exact gradient are a task for L-BFGS;
# a step is four iterations.

device = hg.Compressor(
    -10.0, 1.5, attack_ms=10.0, release_ms=15.0, sample_rate=rate, learn=list(true)
)


def settings():
    """Return the four settings in their own units."""
    return [getattr(device, name).item() for name in true]


optimizer = torch.optim.LBFGS(
    device.parameters(), max_iter=4, line_search_fn="strong_wolfe"
)
path, start = [settings()], device(sound)[0].detach()


def closure():
    """Return the error in shares of the energy wanted."""
    optimizer.zero_grad()
    y, _ = device(sound)
    loss = (y - wanted).square().sum() / wanted.square().sum()
    loss.backward()
    return loss


for _ in range(15):
    optimizer.step(closure)
    path.append(settings())
y, _ = device(sound)
for found, right in zip(path[-1], true.values(), strict=True):
    assert abs(found - right) < 0.01 * abs(right)

# %%
# An autograd gradient beside a finite difference, at the start.

once = hg.Compressor(-10.0, 1.5, attack_ms=10.0, release_ms=15.0, sample_rate=rate)
threshold = torch.tensor(-10.0, dtype=torch.float64, requires_grad=True)


def loss_at(threshold_db):
    """Return the loss for a threshold given in the call."""
    y, _ = once(sound.double(), threshold_db=threshold_db)
    return (y - wanted).square().sum()


(slope,) = torch.autograd.grad(loss_at(threshold), threshold)
difference = (
    loss_at(threshold.detach() + 1e-3) - loss_at(threshold.detach() - 1e-3)
) / 2e-3
print(f"gradient {slope:.6f}, finite difference {difference:.6f}")
torch.testing.assert_close(slope, difference, rtol=1e-3, atol=0)

# %%


def gain(y):
    """Return by how many dB each sample became louder."""
    return 20 * (y / sound)[0, 0].detach().abs().clamp(min=1e-6).log10()


figure = plt.figure(figsize=(9, 4.6), layout="constrained")
panels = figure.subplot_mosaic(
    [["sound", "sound", "sound", "sound"], list(true)], height_ratios=(1.3, 1)
)
panels["sound"].set_title("Gain over time")
time = torch.arange(sound.shape[-1]) / rate
panels["sound"].plot(
    time, gain(wanted), color="0.7", linewidth=5, label="the compressor"
)
panels["sound"].plot(time, gain(start), "C1--", linewidth=1.2, label="at the start")
panels["sound"].plot(time, gain(y), "C0", linewidth=1.2, label="after 15 steps")
panels["sound"].set(xlabel="seconds", ylabel="dB", ylim=(-23, 1))
panels["sound"].legend(ncols=3, loc="lower left")
for (name, right), line in zip(true.items(), zip(*path, strict=True), strict=True):
    panels[name].set_title(name.replace("_db", ", dB").replace("_ms", ", ms"))
    panels[name].plot(line, "o-", markersize=3)
    panels[name].axhline(right, color="0.5", linestyle=":")
    panels[name].set_xlabel("step")
    panels[name].set_yscale("linear" if name == "threshold_db" else "log")
    panels[name].minorticks_off()
plt.show()

# %%
# All four settings come home (dotted: the true ones), and the gain curves lie on each
# other.
