"""
Numbers that learn their ranks
==============================

A rank is a whole number that jumps when two values pass each other, so it has no slope.
With a soft twin the ranks stay exact in the forward, and gradient descent still knows
which value has to rise and which to fall.
"""

from functools import partial

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

# %%
# Forward, ``hg.hard.rank``. Backward, the slope of the soft rank at a temperature of
# one mean gap between neighbors.

rank = hg.straight_through(hg.hard.rank, soft=partial(hg.soft.rank, temperature=1.0))

# %%
# Seven numbers begin in one order and shall end in another. The loss sees their exact
# ranks and nothing else.

x = torch.nn.Parameter(torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
wanted = torch.tensor([4.0, 6.0, 0.0, 5.0, 2.0, 3.0, 1.0])
optimizer = torch.optim.Adam([x], lr=0.05)
path, losses = [], []
for _ in range(160):
    loss = (rank(x) - wanted).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    path.append(x.detach().clone())
    losses.append(loss.item())
assert torch.equal(hg.hard.rank(x), wanted)
assert not hg.hard.rank(x).requires_grad  # alone, the hard rank teaches nothing

# %%
path = torch.stack(path)
figure, (above, below) = plt.subplots(
    2, 1, figsize=(8, 5), sharex=True, height_ratios=(3, 1), layout="constrained"
)
above.set_title("Seven numbers on their way to the ranks they shall have")
for i, line in enumerate(path.T):
    above.plot(line, color=f"C{i}")
    above.annotate(
        f"{wanted[i]:.0f}",
        (len(line) + 1, line[-1]),
        color=f"C{i}",
        va="center",
        weight="bold",
    )
above.set(ylabel="value (right: wanted rank)")
below.plot(losses, color="0.4", drawstyle="steps-post")
below.set(xlabel="step", ylabel="loss of the\nexact ranks")
plt.show()

# %%
# The lines cross until their order is the wanted one. The loss below is a staircase,
# since ranks are: it changes only where two lines cross, and yet every number knows its
# way in between.
