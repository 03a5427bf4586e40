"""
A part that never learns
========================

The loss of this model goes down, and one of its parts stays as it was: its gradient
ends at a comparison. Nothing says so. ``hg.doctor.breaks`` runs the model once and
names the line.
"""

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

# %%
# A gate lets through what is above a threshold. The threshold shall learn.


class Gated(torch.nn.Module):
    """A network with a gate of eight thresholds."""

    def __init__(self):
        super().__init__()
        self.encoder, self.head = torch.nn.Linear(4, 8), torch.nn.Linear(8, 1)
        self.threshold = torch.nn.Parameter(torch.full((8,), 1.0))

    def forward(self, x):
        h = self.encoder(x)
        return self.head(h * (h > self.threshold))


torch.manual_seed(0)
found = hg.doctor.breaks(Gated(), torch.randn(64, 4))
print(found)
assert found.parameters == {"threshold": "none"}

# %%
# The report says what to write in place of the line.

gate = hg.straight_through(hg.hard.step, hg.surrogate.twins.sigmoid(4.0))


class Mended(Gated):
    """The same, with a gradient to the thresholds."""

    def forward(self, x):
        h = self.encoder(x)
        return self.head(h * gate(h - self.threshold))


assert not hg.doctor.breaks(Mended(), torch.randn(64, 4))

# %%
# Both learn from the same batches.


def train(make):
    """Return the loss of every step, and how far each parameter went."""
    torch.manual_seed(1)
    model = make()
    begun = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(400):
        x = torch.randn(128, 4)
        loss = (model(x)[:, 0] - x[:, 0].relu() - x[:, 1].abs()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses), {
        n: (p.detach() - begun[n]).norm().item() for n, p in model.named_parameters()
    }


broken, moved = train(Gated)
mended, moved_mended = train(Mended)
assert moved["threshold"] == 0 < moved_mended["threshold"]
assert mended[-50:].mean() < broken[-50:].mean()

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.set_title("How far each parameter went")
place = torch.arange(len(moved)).numpy()
left.barh(
    place + 0.2, list(moved.values()), 0.38, color="C1", label="with h > threshold"
)
left.barh(place - 0.2, list(moved_mended.values()), 0.38, color="C0", label="mended")
left.set_yticks(place, moved)
left.set(xlabel="distance from the start")
left.legend()
right.set_title("Both losses go down")
right.semilogy(broken.unfold(0, 10, 10).mean(1), "C1--", label="with h > threshold")
right.semilogy(mended.unfold(0, 10, 10).mean(1), "C0", label="mended")
right.set(xlabel="tens of steps", ylabel="loss")
right.legend()
plt.show()

# %%
# The curve on the right would not have raised a doubt. The bar that is missing on the
# left is what the report found before any training.
