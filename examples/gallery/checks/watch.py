"""
Is the lent gradient any good?
==============================

A bridge lends the slope of a network that learns while the model does. ``fidelity()``
says how well the network imitates; ``hg.doctor.Watch`` says how far the gradient itself
is from the true one, on the model's own batches.
"""

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

# %%
# A model with a sort in its middle. Watching changes nothing in what is computed, bit
# for bit.

torch.manual_seed(0)
bridge = hg.Bridge(hg.hard.sort, hg.approximators.mlp(5, 5, hidden=(64,)))
model = torch.nn.Sequential(torch.nn.Linear(5, 5), bridge, torch.nn.Linear(5, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
losses, imitation = [], []
with hg.doctor.Watch(bridge, every=40, budget=2000) as watch:
    for _ in range(500):
        x = torch.randn(64, 5)
        target = x.sort(1).values[:, 3:].mean(1)
        loss = (model(x)[:, 0] - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        imitation.append(bridge.fidelity().relative_error)
print(watch)

# %%
# The truth behind the cosine is the gradient of the sort averaged over Gaussian noise,
# for the very gradient that arrived at the bridge.

seen = [sighting for sighting in watch.records if sighting.cosine is not None]
calls = [sighting.call for sighting in seen]
cosine, error = torch.tensor([(s.cosine, s.cosine_error) for s in seen]).T
assert cosine[-3:].mean() > 0.8 > cosine[0]
assert imitation[-1] < 0.3 * imitation[0]

figure, axes = plt.subplots(3, 1, figsize=(8, 5.6), sharex=True, layout="constrained")
axes[0].set_title("A bridge on a sort, watched while it trains")
axes[0].semilogy(losses, color="0.5", linewidth=1)
axes[0].set_ylabel("task's loss")
axes[1].semilogy(imitation, color="C1")
axes[1].set_ylabel("imitation error\n(fidelity)")
axes[2].fill_between(
    calls, cosine - 2 * error, cosine + 2 * error, alpha=0.25, linewidth=0
)
axes[2].plot(calls, cosine, "o-", markersize=4)
for level in (0, 1):
    axes[2].axhline(level, color="0.5", linestyle=":", linewidth=1)
axes[2].set(xlabel="step", ylabel="cosine with the\ntrue gradient", ylim=(-0.25, 1.1))
plt.show()

# %%
# For the first 150 steps the gradient points hardly better than by chance: its cosine
# with the true one is below 0.4. Then the network has understood the sort, and the
# task's loss follows. The imitation error alone would not have told: it hardly moved
# while the slope was wrong, and a good imitation is no proof of a good slope.
