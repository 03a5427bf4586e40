"""
What a temperature does to a sort
=================================

One of six numbers moves past the others. The sorted values follow with corners, and
each of them listens to one number at a time. A soft sort rounds the corners off: near a
crossing, two sorted values listen to both.
"""

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

# %%
# Five numbers stay, the sixth goes from -1 to 6. Each row of ``x`` is one place of it.

place = torch.linspace(-1, 6, 701, requires_grad=True)
x = torch.cat(
    [torch.tensor([0.0, 1.0, 2.5, 3.5, 5.0]).expand(len(place), 5), place[:, None]],
    dim=1,
)

figure, axes = plt.subplots(
    2, 3, figsize=(9, 5.2), sharex=True, sharey="row", layout="constrained"
)
for column, temperature in zip(axes.T, (0.0, 0.3, 1.0), strict=True):
    y = hg.soft.sort(x, temperature, relative=False)
    third = y[:, 2]
    (slope,) = torch.autograd.grad(third.sum(), place, retain_graph=True)

    torch.testing.assert_close(
        y.sum(1), x.sum(1)
    )  # what one value loses, its neighbors get
    finite = (third[2:] - third[:-2]) / (place[2:] - place[:-2])
    away = (finite - slope[1:-1]).abs() < 0.05  # the corners of temperature 0 apart
    assert away.float().mean() > 0.99

    column[0].set_title(
        "hard (temperature 0)" if temperature == 0 else f"temperature {temperature}"
    )
    column[0].plot(place.detach(), y.detach(), color="C0", linewidth=1)
    column[0].plot(place.detach(), third.detach(), color="C1", linewidth=2.5)
    column[0].plot(place.detach(), place.detach(), color="0.5", linestyle=":")
    column[1].plot(place.detach(), slope, color="C1")
    column[1].set_xlabel("place of the sixth number")
axes[0, 0].set_ylabel("sorted values")
axes[1, 0].set_ylabel("slope of the third\nsmallest value")
plt.show()

# %%
# Dotted: the number that moves. Bold: the third smallest value. In the hard sort its
# slope is 1 while the moving number is the third, and 0 everywhere else: a loss of the
# third value says nothing to a number that stands a little too far away. With
# temperature it says something to the neighbors, too, and the sum of all values stays
# what it was.
