"""
A neuron that learns when to fire
=================================

A spiking neuron adds up what comes in, leaks, and fires where its membrane reaches a
threshold. Firing is a step, so its gradient is zero. A twin lends the step a bump
around the threshold, and the neuron learns to fire at given times.
"""

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

twins = hg.surrogate.twins
spike = hg.straight_through(hg.hard.step, twins.arctan(2.0))

# %%
# Forty inputs fire at random. The neuron keeps 90 % of its membrane from one step to
# the next and loses 1 when it fires.

torch.manual_seed(0)
steps, inputs = 60, 40
coming = (torch.rand(steps, inputs) < 0.08).float()
wanted = torch.zeros(steps)
wanted[[10, 20, 26, 38, 51]] = 1


def run(weight):
    """Return the membrane just before each step's decision, and the spikes."""
    membrane, out = torch.zeros(()), torch.zeros(())
    trace, spikes = [], []
    for current in coming @ weight:
        membrane = 0.9 * membrane + current - out
        out = spike(membrane - 1)
        trace.append(membrane)
        spikes.append(out)
    return torch.stack(trace), torch.stack(spikes)


# %%
# The loss compares both spike trains after a smoothing of a few steps, so that a spike
# that is nearly right counts as nearly right.

kernel = torch.exp(-torch.arange(-8, 9).abs() / 2.0)[None, None]


def blurred(spikes):
    """Return the spikes smoothed."""
    return torch.nn.functional.conv1d(spikes[None, None], kernel, padding=8)


weight = torch.nn.Parameter(0.15 * torch.rand(inputs))
before = run(weight)[1].detach()
optimizer = torch.optim.Adam([weight], lr=0.01)
for _ in range(200):
    trace, spikes = run(weight)
    loss = (blurred(spikes) - blurred(wanted)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
trace, spikes = (each.detach() for each in run(weight))
assert spikes.sum() == 5  # as many as wanted, each at most a step beside
assert (spikes.nonzero() - wanted.nonzero()).abs().max() <= 1

# %%
figure = plt.figure(figsize=(9, 4.6), layout="constrained")
left, above, below = figure.subplot_mosaic(
    [["twin", "trace"], ["twin", "trains"]], width_ratios=(1, 2)
).values()
v = torch.linspace(-2, 2, 401, requires_grad=True)
left.set_title("What is lent at the threshold")
shown = {
    "arctan(2)": twins.arctan(2.0),
    "triangle()": twins.triangle(),
    "gaussian(0.4)": twins.gaussian(0.4),
}
for name, twin in shown.items():
    (slope,) = torch.autograd.grad(hg.straight_through(hg.hard.step, twin)(v).sum(), v)
    left.plot(v.detach(), slope, label=name)
left.set(xlabel="membrane minus threshold", ylabel="derivative")
left.set_ylim(0, 1.5)
left.legend(loc="upper left")
above.set_title("The membrane after training")
above.plot(trace)
above.axhline(1, color="0.5", linestyle=":")
above.set(ylabel="membrane")
times = [train.nonzero()[:, 0].tolist() for train in (wanted, spikes, before)]
below.eventplot(times, colors=["0.5", "C0", "C1"], linelengths=0.7)
below.set_yticks([0, 1, 2], ["wanted", "trained", "untrained"])
below.set(xlabel="time step", xlim=above.get_xlim())
plt.show()

# %%
# After 200 steps the neuron fires five times, each at the wanted step or one beside it.
# The spikes are whole zeros and ones throughout; only the backward sees the bump on the
# left.
