"""trackio: a run's curves in a local folder, without an account.

The problem is that of any logger: which numbers say that hard layers train well. They are the task's loss, the penalty
of each bridge by name, and how well it imitates.

trackio writes to a folder on this machine, ``TRACKIO_DIR``, unless a Space is named; ``trackio show`` opens the
dashboard. Its own processor and memory curves are switched off here.

The one rule: log ``dict(bag)`` beside the task's loss, and ``fidelity()`` every few dozen steps.
"""

import os
import shutil
import tempfile

os.environ["TRACKIO_DIR"] = tempfile.mkdtemp()  # before the import

import torch
import trackio
from torch import nn
from trackio.sqlite_storage import SQLiteStorage

import hardgrad as hg

torch.manual_seed(0)
bridge = hg.Bridge(hg.hard.sort, hg.approximators.mlp(6, 6, hidden=(32,)))
model = nn.Sequential(nn.Linear(6, 6), bridge, nn.Linear(6, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

config = {"hard": "sort", "weight": bridge.weight, "lr": 1e-2}
trackio.init(project="hardgrad", name="sort", config=config, embed=False, auto_log_cpu=False, auto_log_gpu=False)
for step in range(100):
    x = torch.randn(64, 6)
    with hg.penalties() as bag:
        task = nn.functional.mse_loss(model(x), x.amax(1, keepdim=True))
    optimizer.zero_grad()
    (task + bag.total()).backward()
    optimizer.step()
    if step % 20 == 0:
        penalties = {f"penalty/{name}": penalty.item() for name, penalty in bag}
        fidelity = bridge.fidelity().relative_error
        trackio.log({"task": task.item(), **penalties, "fidelity/1": fidelity}, step=step)
trackio.finish()

logs = SQLiteStorage.get_logs("hardgrad", "sort")
assert [entry["step"] for entry in logs] == list(range(0, 100, 20)), logs
assert {"task", "penalty/1", "fidelity/1"} <= logs[0].keys(), logs[0]
assert logs[-1]["penalty/1"] < 0.5 * logs[0]["penalty/1"], logs
assert logs[-1]["fidelity/1"] < 0.7, logs
print(f"{len(logs)} points; the last:", {name: logs[-1][name] for name in ("task", "penalty/1", "fidelity/1")})
shutil.rmtree(os.environ["TRACKIO_DIR"])
