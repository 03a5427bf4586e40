"""
The three best of twelve
========================

A network gives every item a score, and exactly three of twelve are taken. What they
bring is known afterwards. The mask of the three largest has no slope; a soft mask as
its twin tells the scores near the border what a change would bring.
"""

from functools import partial

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

take = hg.straight_through(
    partial(hg.hard.top_k_mask, k=3),
    soft=partial(hg.soft.top_k_mask, k=3, temperature=1.0),
)


def worth(items):
    """Return what an item at a place in the plane brings: two hills."""
    high, low = ((items - x).square().sum(-1) for x in (0.4, -0.5))
    return torch.exp(-4 * high) + 0.7 * torch.exp(-4 * low)


# %%
# Copying the gradient would push up each score by the worth of its item, taken or not,
# as long as items have any. The twin compares: what one item gains, its rivals at the
# border lose.


def train(layer):
    """Return the network, and what each step took of the best possible worth."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(2, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1)
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    shares = []
    for _ in range(300):
        items = 2 * torch.rand(64, 12, 2) - 1
        taken = (layer(net(items)[..., 0]) * worth(items)).sum(1).mean()
        optimizer.zero_grad()
        (-taken).backward()
        optimizer.step()
        shares.append(taken.item() / worth(items).topk(3).values.sum(1).mean().item())
    return net, torch.tensor(shares)


net, shares = train(take)
_, copied = train(hg.straight_through(partial(hg.hard.top_k_mask, k=3)))
assert shares[-50:].mean() > 0.97

# %%
torch.manual_seed(3)
items = 2 * torch.rand(12, 2) - 1
grid = torch.cartesian_prod(*[torch.linspace(-1, 1, 100)] * 2)
with torch.no_grad():
    scores = net(grid)[:, 0].view(100, 100)
    mask = hg.hard.top_k_mask(net(items)[:, 0], 3).bool()
best = hg.hard.top_k_mask(worth(items), 3).bool()
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
left.set_title("Learned score, and the three taken of twelve")
left.imshow(scores.T.numpy(), extent=(-1, 1, -1, 1), origin="lower", aspect="auto")
left.scatter(*items[~mask].T, s=40, color="white", edgecolors="black")
left.scatter(*items[mask].T, s=90, color="C1", edgecolors="white", label="taken")
ring = {"facecolors": "none", "edgecolors": "white", "linewidths": 1.5}
left.scatter(*items[best].T, s=260, label="the true best", **ring)
left.legend(frameon=True, facecolor="0.3", labelcolor="white", loc="upper left")
left.set(xlabel="first feature", ylabel="second feature")
right.set_title("Share of the best three's worth")
right.plot(shares, label="soft mask as twin")
right.plot(copied, "C1--", label="copied gradient")
right.set(xlabel="step", ylim=(None, 1.01))
right.legend(loc="lower right")
plt.show()

# %%
# Exactly three items are taken in every step. The score ends as a map of the hidden
# worth, up to its scale, since only its order counts.
