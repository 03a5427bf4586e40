"""
When copying a gradient goes uphill
===================================

The straight-through gradient pretends that a function is the identity. Where the
function falls, that has the wrong sign. A bridge learns the shape of the function, so
it knows where it falls.
"""

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

# %%
# A V with stairs: it falls on the left and rises on the right, and its own gradient is
# zero.


def stairs(x):
    """Return the distance from zero in steps of a quarter."""
    return (4 * x.abs()).round() / 4


# %%
# A linear layer before the stairs shall find the weights of a hidden one. Only what
# gives the stairs a gradient differs.


def train(make, seed):
    """Return the loss of every step, in shares of the target's variance."""
    torch.manual_seed(seed)
    layer = make()
    hidden, student = torch.nn.Linear(6, 16), torch.nn.Linear(6, 16)
    optimizer = torch.optim.Adam([*student.parameters(), *layer.parameters()], lr=0.01)
    losses = []
    for _ in range(300):
        x = torch.randn(128, 6)
        target = stairs(hidden(x)).detach()
        loss = (layer(student(x)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item() / target.var().item())
    return torch.tensor(losses)


def copy():
    """Return a layer with a copied gradient."""
    return hg.straight_through(stairs)


def bridge():
    """Return a layer with a learned gradient."""
    return hg.Bridge(stairs, hg.approximators.elementwise(16))


copied = torch.stack([train(copy, seed) for seed in range(2)])
bridged = torch.stack([train(bridge, seed) for seed in range(2)])
assert (copied[:, -50:].mean(1) > 10 * copied[:, :20].mean(1)).all()
assert (bridged[:, -50:].mean(1) < 0.5 * bridged[:, :20].mean(1)).all()

# %%
x = torch.linspace(-2, 2, 801)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.set_title("The function, and where a copy is wrong")
left.plot(x, stairs(x))
left.axvspan(-2, 0, color="C1", alpha=0.15, linewidth=0)
left.text(-1.9, 0.1, "copied gradient\npoints uphill", color="C1", weight="bold")
left.set(xlabel="x", ylabel="stairs(x)")
right.set_title("Training through it, two seeds")
for losses, color in ((copied, "C1"), (bridged, "C0")):
    right.semilogy(range(20, 301, 20), losses.unfold(1, 20, 20).mean(2).T, color)
right.plot([], [], "C1", label="straight-through")
right.plot([], [], "C0", label="bridge")
right.set(xlabel="step", ylabel="loss / variance of the target")
right.legend()
plt.show()

# %%
# For half of the inputs the copied gradient has the wrong sign. Those inputs run away
# from the target, and the loss ends a hundred times above where it began. The bridge
# starts from a network that knows nothing, and finds the V within a hundred steps or
# so; it may still stop short of the target, as one of these two seeds does. Where a
# function rises everywhere, the copy is the cheaper choice and often as good.
