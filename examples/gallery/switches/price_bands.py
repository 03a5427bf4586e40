"""
A tariff, and where its bands begin
===================================

The price of a kilowatt hour changes at limits that nobody wrote down. One smooth
network blurs the jumps. A search finds the limits, and a switch has one line for each
band.
"""

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

# %%
# Four bands with jumps between them.

torch.manual_seed(0)
limits = torch.tensor([1.5, 4.0, 7.0])
height = torch.tensor([1.0, 3.5, 2.0, 6.0])
slope = torch.tensor([0.3, 0.1, 0.9, -0.4])


def price(kwh):
    """Return what is paid, without noise."""
    band = torch.bucketize(kwh, limits, right=True)
    begins = torch.cat([torch.zeros(1), limits])
    return height[band] + slope[band] * (kwh - begins[band])


kwh = 10 * torch.rand(1500)
paid = price(kwh) + 0.15 * torch.randn(1500)

# %%
# ``search_ranges`` tries numbers of ranges on held-out rows and stops where one more
# does not help.

found = hg.search_ranges(kwh, kwh, paid, max_ranges=8)
print(found)
torch.testing.assert_close(torch.tensor(found.points[1:-1]), limits, atol=0.05, rtol=0)

# %%
# A switch with these points, four lines of two weights each, beside one network with a
# dozen times as many weights. Both see the key from -2 to 2.


def scaled(kwh):
    """Return the key as the models see it."""
    return (torch.as_tensor(kwh)[..., None] - 5) / 2.5


def train(model, lr):
    """Train on all rows and return the predictions for a grid."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    x = scaled(kwh)
    for _ in range(600):
        optimizer.zero_grad()
        loss = (model(x)[:, 0] - paid).square().mean()
        loss.backward()
        optimizer.step()
    return model(scaled(grid))[:, 0].detach()


grid = torch.linspace(0, 10, 2001)
ranges = hg.Ranges([scaled(point).item() for point in found.points])
switch = hg.Switch(ranges, torch.nn.Linear(1, 1), key=0, normalize=[0])
network = torch.nn.Sequential(
    torch.nn.Linear(1, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1)
)
smooth, lines = train(network, lr=0.03), train(switch, lr=0.05)
errors = [(y - price(grid)).square().mean().sqrt().item() for y in (smooth, lines)]
assert errors[1] < 0.5 * errors[0]

# %%
figure, axis = plt.subplots(figsize=(9, 4.2), layout="constrained")
axis.set_title("1,500 bills, the bands that were found, and two models")
axis.scatter(kwh, paid, s=4, color="0.75", linewidths=0)
for point in found.points[1:-1]:
    axis.axvline(point, color="0.5", linestyle=":", linewidth=1)
axis.plot(grid, smooth, "C1--", label=f"one network, 97 weights: error {errors[0]:.2f}")
axis.plot([], [], "C0", label=f"switch, 8 weights: error {errors[1]:.2f}")
taken = found.ranges()(grid)
for i in taken.unique():
    axis.plot(grid[taken == i], lines[taken == i], "C0")
axis.set(xlabel="kilowatt hours", ylabel="price", xlim=(0, 10))
axis.legend(loc="upper left")
plt.show()

# %%
# Dotted: the limits found, each within 0.05 of the true one. The errors are against the
# price without noise. Where a map is smooth, the search answers "one range", and a
# switch brings nothing.
