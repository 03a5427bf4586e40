"""Ray: the published experiments on a cluster, one run a task.

The problem: a table of a paper is dozens of runs. ``hardgrad reproduce all --engine ray`` gives each to a core or a GPU
of a cluster. A run whose machine dies is done again, from its checkpoint if the machines share ``--scratch``.

Nothing about hard layers is special here. What has to be the same on all machines is this package, torch, and the data.
Without ``RAY_ADDRESS`` and without a cluster on this machine, Ray starts one of its own for the command, as below.
Records are written by the process that gave the command, so the others need no shared disk.

The one rule: give the same command again. What is recorded is not done twice.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"

from hardgrad_lab import cli

PLAN = """
[[run]]
experiment = "figure3"
task = "signum"
contestant = "elu-dense"
seeds = [0, 1]
core_minutes = 0.1
options.steps = 200
"""


def reproduce(folder: Path, engine: str) -> list[dict[str, object]]:
    """Run the plan; return its records, by seed."""
    plan = folder / "plan.toml"
    plan.write_text(PLAN)
    out = folder / engine
    arguments = ["--plan", str(plan), "--out", str(out), "--device", "cpu", "--engine", engine]
    code = cli.main(["reproduce", "all", *arguments])
    assert not code, code
    records = [json.loads(path.read_text()) for path in sorted((out / "figure3").glob("*.json"))]
    return sorted(records, key=lambda record: record["seed"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        on_ray = reproduce(folder, "ray")
        assert [record["seed"] for record in on_ray] == [0, 1]
        again = reproduce(folder, "ray")
        assert again == on_ray  # nothing was done twice
        here = reproduce(folder, "processes")
    assert [record["metrics"] for record in here] == [record["metrics"] for record in on_ray]  # to the last digit
    print("the same numbers on Ray and without it:", [record["metrics"] for record in on_ray], file=sys.stderr)
