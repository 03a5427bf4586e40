"""
Break points that move
======================

The points of a switch can learn together with its branches. Rows near a point are asked
what the other branch would have made of them, and that tells the point where to go.
Routing stays hard all the time.
"""

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

# %%
# A function with two jumps, at -0.35 and 0.25. The points start at -0.7 and 0.7.

torch.manual_seed(0)
true = [-0.35, 0.25]
key = 2 * torch.rand(2000, 1) - 1


def truth(x):
    """Return the function that is to be learned."""
    return torch.where(
        x < true[0], -1 - x, torch.where(x < true[1], 2 * x.square() + 1, 0.5 - 2 * x)
    )


branch = torch.nn.Sequential(
    torch.nn.Linear(1, 12), torch.nn.Tanh(), torch.nn.Linear(12, 1)
)


def train(refine):
    """Return the switch, and where its points were after every step."""
    torch.manual_seed(1)
    ranges = hg.LearnedRanges([-1.0, -0.7, 0.7, 1.0])
    switch = hg.Switch(ranges, branch, key=0)
    rates = [
        {"params": [ranges.inner], "lr": 0.005},
        {"params": switch.branches.parameters(), "lr": 0.02},
    ]
    optimizer = torch.optim.Adam(rates)
    path = [ranges.points[1:-1]]
    for step in range(500):
        x = key[torch.randint(2000, (256,))]
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(switch(x), truth(x)).backward()
        optimizer.step()
        if refine and step % 50 == 49:
            hg.switch.refine(
                switch, key, key[:, 0], truth(key), lambda y, t: (y - t).square().sum(1)
            )
        path.append(ranges.points[1:-1])
    return switch, torch.tensor(path)


_, path_alone = train(refine=False)
switch, path_both = train(refine=True)
assert (path_both[-1] - torch.tensor(true)).abs().max() < 0.02

# %%
grid = torch.linspace(-1, 1, 1001)[:, None]
figure, (left, right) = plt.subplots(
    1, 2, figsize=(9, 4), width_ratios=(3, 2), layout="constrained"
)
left.set_title("Where the points are")
left.plot(path_alone, "C1--")
left.plot(path_both, "C0")
left.plot([], [], "C1--", label="gradient alone")
left.plot([], [], "C0", label="gradient, and refine every 50 steps")
for point in true:
    left.axhline(point, color="0.5", linestyle=":")
left.set(xlabel="step", ylabel="point (dotted: true)", ylim=(-1, 1))
left.legend(loc="upper right")
right.set_title("What was learned")
right.plot(grid, truth(grid), color="0.7", linewidth=5, label="truth")
right.plot(grid, switch(grid).detach(), "C0", label="switch")
right.set(xlabel="key", ylabel="value")
right.legend()
plt.show()

# %%
# The gradient sees rows in a band around a point, so from a start far off it takes its
# time: one of the dashed lines is still on its way. ``hg.switch.refine`` asks all
# branches about all rows and places every point at once, which are the jumps of the
# solid lines.
