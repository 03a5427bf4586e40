"""
A staircase with a lent slope
=============================

A sign, a rounding and a quantizer are flat almost everywhere, so nothing before them
learns. A bridge keeps the staircase and lends it the slope of a small network that
imitates it.
"""

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

# %%
# Three hard functions. The quantizer has levels at unequal distances.

functions = {
    "sign": hg.hard.sign,
    "round": hg.hard.round,
    "quantize": lambda x: hg.hard.quantize(x, torch.tensor([-1.6, -0.4, 0.3, 1.7])),
}

# %%
# Each gets a bridge. Nothing else is trained here, so the loop is only the bridge's own
# penalty: the squared distance of the network from the hard function. Inside a model
# the penalty rides along with your loss.


def learned(hard):
    """Return a bridge whose network has seen inputs from -2 to 2."""
    torch.manual_seed(0)
    bridge = hg.Bridge(hard, hg.approximators.elementwise(16))
    optimizer = torch.optim.Adam(bridge.parameters(), lr=0.01)
    for _ in range(200):
        with hg.penalties() as bag:
            bridge(4 * torch.rand(256, 1) - 2)
        optimizer.zero_grad()
        bag.total().backward()
        optimizer.step()
    return bridge


# %%
# Above: what runs forward, and the network behind it. Below: the slope that comes back,
# beside the slope of the function averaged over Gaussian noise of standard deviation
# 0.2. That average is smooth, and its slope is known by finite differences.

noise = 0.2 * torch.special.ndtri(
    (torch.arange(2_000) + 0.5) / 2_000
)  # evenly spaced shares of a Gaussian
x = torch.linspace(-2, 2, 401)[:, None].requires_grad_()
figure, axes = plt.subplots(
    2, 3, figsize=(9, 5), sharex=True, sharey="row", layout="constrained"
)
for column, (name, hard) in zip(axes.T, functions.items(), strict=True):
    bridge = learned(hard)
    y = bridge(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    average = hard(x.detach() + noise).mean(1)
    truth = (average[2:] - average[:-2]) / 0.02

    assert torch.equal(y, hard(x))  # forward it is the hard function, bit for bit
    assert (
        0.8 < slope.mean() / truth.mean() < 1.2
    )  # and what it lends rises as much on the whole

    column[0].set_title(name)
    column[0].plot(x.detach(), y.detach(), label="forward, hard")
    column[0].plot(
        x.detach(), bridge.approximator(x).detach(), "--", label="network behind it"
    )
    column[1].plot(x.detach(), slope, "C1--", label="slope lent by the network")
    column[1].plot(
        x.detach()[1:-1], truth, color="0.5", linewidth=1, label="slope of the average"
    )
    column[1].set_xlabel("x")
axes[0, 0].set_ylabel("value")
axes[1, 0].set_ylabel("slope")
axes[0, 1].legend(loc="lower right")
axes[1, 1].legend(loc="upper center")
plt.show()

# %%
# The forward is bit for bit the hard function. The lent slope is high where the
# function jumps and low between, as the slope of the average is; how wide its humps are
# depends on how sharply the network has learned the jumps. Five even stairs are a
# straight line to a network as small as this one: it lends a rounding the slope 1,
# which is the straight-through gradient, found rather than assumed.
