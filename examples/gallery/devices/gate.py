"""
A gate that finds its thresholds
================================

A noise gate opens where a sound gets louder than one threshold and closes where it
falls below another. Moving a threshold a little changes nothing at all, and then all at
once. ``hg.Gate`` looks at what the openings that it would add or lose would have
changed, and that is the gradient of its thresholds.
"""

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

# %%
# Eight beats that fade, each softer than the one before. The gate that is to be found
# opens at -26 dB and closes at -30 dB; ours starts 6 dB too high.

torch.manual_seed(0)
rate = 9600
fading = torch.arange(1200)
beats = torch.cat(
    [torch.randn(1200) * torch.exp(-fading / 200) * 10 ** (-i / 8) for i in range(8)]
)[None]
usual = {
    "hold_ms": 5,
    "attack_ms": 1,
    "release_ms": 10,
    "range_db": -60,
    "sample_rate": rate,
}
with torch.no_grad():
    wanted, _ = hg.Gate(-26.0, -30.0, **usual)(beats)

gate = hg.Gate(-20.0, -24.0, **usual, learn=["open_db", "close_db"])
optimizer = torch.optim.Adam(gate.parameters(), lr=0.2)
start, _ = gate(beats)
path, losses = [], []
for _ in range(60):
    y, _ = gate(beats)
    loss = (y - wanted).square().sum() / wanted.square().sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    path.append((gate.open_db.item(), gate.close_db.item()))
    losses.append(loss.item())
assert abs(path[-1][0] + 26) < 0.5
assert abs(path[-1][1] + 30) < 0.5

# %%
# The loss along the opening threshold, the closing one 4 dB below: the staircase that
# the gradient has to cross.

thresholds = torch.linspace(-30, -18, 121)
with torch.no_grad():
    stairs = [
        (
            (hg.Gate(t, t - 4, **usual)(beats)[0] - wanted).square().sum()
            / wanted.square().sum()
        ).item()
        for t in thresholds.tolist()
    ]

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
left.set_title("What the gate lets through")
time = torch.arange(beats.shape[1]) / rate
left.plot(time, beats[0] / 4, color="0.6", linewidth=0.4)
for offset, (signal, color) in enumerate(
    [(start, "C1"), (y, "C0"), (wanted, "0.3")], start=1
):
    opened = (signal / beats)[0].detach().clamp(0, 1)
    left.fill_between(
        time, -1.5 * offset, -1.5 * offset + opened, color=color, linewidth=0
    )
left.set_yticks([0, -1, -2.5, -4], ["sound", "first gate", "learned gate", "wanted"])
left.set(xlabel="seconds; below the sound: gain from 0 to 1")
right.set_title("Loss of a threshold, and the way down")
right.plot(thresholds, stairs, color="0.5", linewidth=1, label="every threshold")
right.plot(
    [p[0] for p in path], losses, "o-", markersize=3, linewidth=1, label="60 steps"
)
right.axvline(-26, color="0.5", linestyle=":")
right.set(xlabel="opening threshold, dB (dotted: true)", ylabel="error / energy wanted")
right.legend()
plt.show()

# %%
# The first gate closes too early on every beat; the learned one stays open as long as
# it should. Between stairs the true slope is zero; the lent one looks further, and
# walks down the whole staircase.
