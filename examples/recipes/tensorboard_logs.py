"""TensorBoard: what is worth a curve when hard layers train.

The problem: the task's loss alone does not say whether a bridge still imitates its function, or whether a branch of a
switch is ever visited.

Three curves say it. The penalty of each bridge by its name, ``dict(bag)``. Its ``fidelity().relative_error``: 0 is
a perfect imitation, 1 is what a constant zero would score. And the visits of each range. ``fidelity()`` and ``item()``
wait for the device, so ask for them every few dozen steps and not in each one.

The one rule: log the penalty apart from the task, never their sum alone.
"""

import tempfile

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.tensorboard import SummaryWriter

import hardgrad as hg

torch.manual_seed(0)
signs = hg.Bridge(hg.hard.sign, hg.approximators.mlp(8, 8, hidden=(32,)))
choose = hg.Switch(hg.Ranges([-3.0, -1.0, 0.0, 1.0, 3.0]), nn.Linear(8, 1), key=0)
model = nn.ModuleDict({"before": nn.Linear(4, 8), "signs": signs, "choose": choose})
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

with tempfile.TemporaryDirectory() as folder:
    writer = SummaryWriter(folder)
    for step in range(200):
        x = torch.randn(64, 4)
        with hg.penalties(model) as bag:
            y = choose(signs(model["before"](x)), key=x[:, 0].clamp(-3, 3))
        task = nn.functional.mse_loss(y, x[:, :1].sign())
        optimizer.zero_grad()
        (task + bag.total()).backward()
        optimizer.step()
        if step % 20 == 0:
            writer.add_scalar("task", task.item(), step)
            for name, penalty in bag:
                writer.add_scalar(f"penalty/{name}", penalty.item(), step)
            writer.add_scalar("fidelity/signs", signs.fidelity().relative_error, step)
            for number, visits in enumerate(choose.ranges.visits.tolist()):
                writer.add_scalar(f"visits/range {number}", visits, step)
    writer.close()

    read = EventAccumulator(folder).Reload()
    curves = {tag: [event.value for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}

assert {"task", "penalty/signs", "fidelity/signs", "visits/range 3"} <= curves.keys(), sorted(curves)
assert all(len(curve) == 10 for curve in curves.values())
assert curves["penalty/signs"][-1] < 0.5 * curves["penalty/signs"][0], curves["penalty/signs"]
assert curves["fidelity/signs"][-1] < 0.7, curves["fidelity/signs"]
assert sum(curves[f"visits/range {number}"][-1] for number in range(4)) == 181 * 64  # every row went somewhere
print({tag: round(curve[-1], 3) for tag, curve in curves.items()})
