"""The plan on a Ray cluster of two machines on this one, one of which is killed in the middle of its run."""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments import experiment
from hardgrad_lab.experiments.bridges.figure3 import FIGURE3
from hardgrad_lab.plan.cluster import do
from hardgrad_lab.plan.jobs import Queue, folder_of
from hardgrad_lab.plan.work import Result, Setup
from hardgrad_lab.plan.worker import log_of
from hardgrad_lab.runs.execute import How
from hardgrad_lab.runs.record import Record, Run
from hardgrad_lab.runs.signals import Interrupted
from lab.run_state import state_of

STORE = 80 * 2**20  # bytes; the least that Ray takes is 75 MiB
# A machine that says nothing for a second is dead; by default Ray waits for ten times as long.
IMPATIENT = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 2,
}
SOURCE = Path(__file__).parents[2] / "src"


class Follower:
    def __init__(self) -> None:
        self.begun: list[str] = []
        self.results: list[tuple[str, Result, bool]] = []

    def started(self, run: Run) -> None:
        self.begun.append(run.name)

    def ended(self, run: Run, result: Result, again: bool) -> None:
        self.results.append((run.name, result, again))

    def tick(self) -> None: ...


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head that does no work, to be joined by machines that do."""
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns that it will be so
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own: pipes it leaves open, names it means to change
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False, "_system_config": IMPATIENT}
        made = Cluster(initialize_head=True, head_node_args=head)
        monkeypatch.setenv("RAY_ADDRESS", made.address)
        yield made
        made.shutdown()


def figure3(seed: int) -> Run:
    return FIGURE3.run(FIGURE3.configure("smoke", "signum", "elu-dense", {"steps": 2_000}), seed)


def begin(run: Run, out: Path) -> None:
    """Stop a run in this process once it has a checkpoint."""
    how = How(results=folder_of(run, out), device="cpu", checkpoint_every=100, checkpoint_every_s=1e9)

    def stop() -> None:
        while state_of(run, out) == "missing":
            time.sleep(0.01)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Interrupted):
        experiment(run.experiment).reproduce(run, Root(), how, Console(quiet=True))


def test_all_jobs_end_with_records_though_a_machine_dies(cluster: Any, tmp_path: Path) -> None:
    machines = [cluster.add_node(num_cpus=1, object_store_memory=STORE) for _ in range(2)]
    runs, scratch = [figure3(seed) for seed in range(3)], tmp_path / "shared by all machines"
    setup = Setup(out=tmp_path / "out", device="cpu", checkpoint_every=200, checkpoint_every_s=1e9)

    begin(runs[2], setup.out)

    def kill_one() -> None:
        while len(list(scratch.glob("*/checkpoints/*.pt"))) < 2:  # until both have something to lose
            time.sleep(0.05)
        cluster.remove_node(machines[1], allow_graceful=False)

    follower = Follower()
    threading.Thread(target=kill_one, daemon=True).start()
    do(Queue(runs), setup, follower, [], scratch)

    assert [state_of(run, setup.out) for run in runs] == ["done"] * 3
    died = [name for name, result, _ in follower.results if "its machine died" in result.error]
    assert len(died) == 1
    assert len(follower.begun) == 4
    (lost,) = (run for run in runs if run.name == died[0])
    assert f"resuming {lost.name}" in log_of(lost, setup.out).read_text(), "from its checkpoint, on the other machine"
    assert f"resuming {runs[2].name}" in log_of(runs[2], setup.out).read_text(), "from what the driver had of it"
    how = How(results=tmp_path / "whole", device="cpu")
    for run in {lost.name: lost, runs[2].name: runs[2]}.values():
        whole = experiment("figure3").reproduce(run, Root(), how, Console(quiet=True)).record
        assert Record.load(run.record_path(folder_of(run, setup.out))).metrics == whole.metrics
    assert (folder_of(lost, setup.out) / "curves" / f"{lost.name}.npz").exists()


def test_ray_is_asked_for_by_the_name_of_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("hardgrad_lab.plan.cluster.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"--engine ray needs Ray; install it with: pip install 'hardgrad\[cluster\]'"):
        do(Queue([]), Setup(out=tmp_path), Follower(), [])
