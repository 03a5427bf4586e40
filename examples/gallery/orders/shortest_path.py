"""
Learning costs from paths
=========================

A map shows kinds of ground, and people walk the cheapest way across it. What each kind
costs is to be learned from the ways they took. The solver is Dijkstra's algorithm in
plain Python: it stays as it is, and ``hg.imle`` gives it a gradient from a few more
solves.
"""

import heapq

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

SIZE = 12


def cheapest_path(cost):
    """Return a mask of the cells on the cheapest way from corner to corner."""
    cost = cost.tolist()
    start, end = (0, 0), (SIZE - 1, SIZE - 1)
    queue, came = [(cost[0][0], start, None)], {}
    while end not in came:
        total, cell, before = heapq.heappop(queue)
        if cell in came:
            continue
        came[cell] = before
        for i, j in ((1, 0), (0, 1), (-1, 0), (0, -1)):
            y, x = cell[0] + i, cell[1] + j
            if 0 <= y < SIZE and 0 <= x < SIZE and (y, x) not in came:
                heapq.heappush(queue, (total + cost[y][x], (y, x), cell))
    mask, cell = torch.zeros(SIZE, SIZE), end
    while cell is not None:
        mask[cell] = 1
        cell = came[cell]
    return mask


# %%
# Four kinds of ground in patches, and what they truly cost.

torch.manual_seed(0)
names = ["meadow", "wood", "rock", "swamp"]
true_cost = torch.tensor([1.0, 2.0, 4.0, 8.0])
height = torch.nn.functional.avg_pool2d(torch.randn(60, SIZE + 2, SIZE + 2), 3, 1)
kinds = torch.bucketize(height, height.quantile(torch.tensor([0.35, 0.65, 0.85])))
walked = torch.stack([cheapest_path(cost) for cost in true_cost[kinds]])

# %%
# Four numbers learn. The loss counts cells that only one of the two paths has.

solve = hg.imle(cheapest_path, samples=2, scale=0.3, rows=True)
free = torch.nn.Parameter(torch.zeros(4))
optimizer = torch.optim.Adam([free], lr=0.1)
history = []
for step in range(60):
    rows = torch.arange(step * 10, step * 10 + 10) % 40
    cost = torch.nn.functional.softplus(free)
    path = solve(cost[kinds[rows]])
    loss = (path - walked[rows]).abs().sum((1, 2)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append((cost / cost[0]).detach())

# %%
# Twenty maps were not trained on. Only ratios of costs decide about a path, so costs
# are shown in meadows.

learned = history[-1]
before, after = (
    torch.stack([cheapest_path(c) for c in cost[kinds[40:]]])
    for cost in (torch.ones(4), learned)
)
same = [
    (path == walked[40:]).all(2).all(1).float().mean().item()
    for path in (before, after)
]
assert same[1] > 0.6 > 0.2 > same[0]

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
left.set_title("A map that was not trained on")
shown = 3
left.imshow(kinds[40 + shown].numpy(), cmap="Greys", vmin=-0.5, vmax=4)
ring = {"s": 170, "facecolors": "none", "edgecolors": "C2", "linewidths": 2}
for mask, name, look in (
    (walked[40 + shown], "walked", ring),
    (before[shown], "before", {"s": 45, "marker": "x", "color": "C1"}),
    (after[shown], "after", {"s": 30, "color": "C0"}),
):
    y, x = mask.nonzero().T
    left.scatter(x, y, label=name, **look)
left.set(xticks=[], yticks=[])
left.legend(loc="upper left", bbox_to_anchor=(0, -0.02), ncols=3)
right.set_title(f"Same path on unseen maps: {same[0]:.0%} before, {same[1]:.0%} after")
for i, line in enumerate(torch.stack(history).T):
    right.semilogy(line, color=f"C{i}", base=2)
    right.axhline(true_cost[i], color=f"C{i}", linestyle=":", linewidth=1)
    right.annotate(names[i], (len(line), line[-1]), color=f"C{i}", va="bottom")
right.set(xlabel="step", ylabel="cost, in meadows (dotted: true)", xlim=(0, 72))
right.set_yticks([1, 2, 4, 8], [1, 2, 4, 8])
plt.show()

# %%
# The costs come apart in the right order. Their ratios are smaller than the true ones,
# and need not be equal: whatever leads to the same paths is as good, and the loss
# cannot tell the difference.
