"""The engine for several machines: a Ray cluster, one task a job.

The machines need this package, the data and nothing else in common. A task works in a folder of its own machine and
returns the bytes of the record and of what was kept beside it, which the driver writes into its own folder; a job whose
machine dies waits to be done on another. What was begun in the driver's folder goes along, and is continued. What a
machine begins stays there: its job begins anew on another, unless the scratch folder is one that all of them share.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from hardgrad_lab.plan.jobs import Queue, folder_of
from hardgrad_lab.plan.processes import TICK_S, Follower
from hardgrad_lab.plan.work import LINE, Result, Setup, work
from hardgrad_lab.plan.worker import log_of
from hardgrad_lab.runs.atomic import write_atomically, write_text
from hardgrad_lab.runs.record import Run

STORE = 200 * 2**20  # bytes for the results of a cluster of our own, which are small


def do(queue: Queue, setup: Setup, follower: Follower, stop: Sequence[int], scratch: Path | None = None) -> None:
    """Do all jobs of a queue on a Ray cluster.

    Args:
        queue: of jobs; it is emptied.
        setup: how jobs are done; its data folder is looked for on every machine.
        follower: told of every job.
        stop: holds a signal once one arrived: jobs under way are then stopped, and no other begins.
        scratch: folder of jobs under way on every machine; None takes a temporary one.

    Raises:
        ValueError: if Ray is not installed.
    """
    ray = _connect()
    flight: dict[Any, Run] = {}
    cancelled = False
    try:
        while flight or (queue and not stop):
            while queue and not stop and len(flight) < _slots(ray, setup):
                run = queue.take()
                flight[_submit(ray, run, setup, scratch)] = run
                follower.started(run)
            if stop and not cancelled:
                for reference in flight:
                    ray.cancel(reference)
                cancelled = True
            ended, _ = ray.wait(list(flight), timeout=TICK_S)
            for reference in ended:
                run = flight.pop(reference)
                _end(ray, reference, run, setup, queue, follower, bool(stop))
            follower.tick()
    finally:
        ray.shutdown()


def _connect() -> Any:
    """Return Ray, connected to the cluster there is, or else to one of this machine alone."""
    if find_spec("ray") is None:
        raise ValueError("--engine ray needs Ray; install it with: pip install 'hardgrad[cluster]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody asked to send them anywhere
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    try:
        ray.init(address=os.environ.get("RAY_ADDRESS", "auto"), **quiet)
    except ConnectionError:
        if "RAY_ADDRESS" in os.environ:
            raise
        ray.init(address="local", include_dashboard=False, object_store_memory=STORE, **quiet)
    return ray


def _needs(ray: Any, setup: Setup) -> dict[str, float]:
    """Return what a job takes of a machine."""
    gpus = setup.device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0
    return {"num_cpus": setup.threads, "num_gpus": int(gpus)}


def _slots(ray: Any, setup: Setup) -> int:
    """Return how many jobs the machines that are there now can do at a time; one where there are none, to wait."""
    there, needs = ray.cluster_resources(), _needs(ray, setup)
    slots = there.get("CPU", 0) // needs["num_cpus"]
    if needs["num_gpus"]:
        slots = min(slots, there["GPU"] // needs["num_gpus"])
    return max(1, int(slots))


def _submit(ray: Any, run: Run, setup: Setup, scratch: Path | None) -> Any:
    # Retries are the queue's, which tells a job that crashes from a machine that dies.
    task = ray.remote(_task).options(name=run.name, max_retries=0, **_needs(ray, setup))
    begun = run.checkpoint_path(folder_of(run, setup.out))
    saved = begun.read_bytes() if begun.exists() else None
    return task.remote(asdict(run), setup.as_json(), None if scratch is None else str(scratch.absolute()), saved)


def _task(values: dict[str, Any], setup: dict[str, Any], scratch: str | None, saved: bytes | None) -> dict[str, Any]:
    """Do a job on whatever machine this is; return what came of it, its log, and its files by path.

    Args:
        values: of the run.
        setup: how.
        scratch: folder of jobs under way; None takes a temporary one.
        saved: the driver's checkpoint of this run, for a machine that has none.
    """
    run = Run(**values)
    folder = Path(scratch or _own_scratch()) / run.name
    log, checkpoint = folder / "log.txt", run.checkpoint_path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if saved is not None and not checkpoint.exists():
        _write(run, {checkpoint.relative_to(folder).as_posix(): saved}, folder)
    with log.open("a", encoding="utf-8") as file:
        result = work(run, Setup.from_json(setup), folder, Console(file=file, width=LINE, emoji=False))
    files: dict[str, bytes] = {}
    if result.status == "done":
        checkpoint.unlink(missing_ok=True)  # large, and of no more use; its record stays
        made = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != log]
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in made}
    return {"result": asdict(result), "log": log.read_text(encoding="utf-8"), "files": files}


def _own_scratch() -> Path:
    """Return a temporary folder of this user's: others of the same machine may have a cluster, too."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    return Path(tempfile.gettempdir()) / f"hardgrad-plan-{user}"


def _end(ray: Any, reference: Any, run: Run, setup: Setup, queue: Queue, follower: Follower, stopping: bool) -> None:
    machine_died = False
    try:
        told = ray.get(reference)
        result = Result(**told["result"])
        write_text(log_of(run, setup.out), told["log"])
        _write(run, told["files"], folder_of(run, setup.out))
    except ray.exceptions.TaskCancelledError:
        result = Result(status="stopped", seconds=0.0)
    except (ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError) as error:
        machine_died = True
        result = Result(status="failed", seconds=0.0, error=f"its machine died: {error}")
    except ray.exceptions.RayError as error:
        result = Result(status="failed", seconds=0.0, error=str(error))
    if stopping and result.status == "failed":
        result = Result(status="stopped", seconds=result.seconds)
    again = result.status == "failed" and queue.again(run, machine_died=machine_died)
    follower.ended(run, result, again)


def _write(run: Run, files: dict[str, bytes], folder: Path) -> None:
    """Write files of a job, the record last: where it is, all is."""
    record = run.record_path(folder).name
    for name in sorted(files, key=lambda name: name == record):
        content = files[name]
        write_atomically(folder / name, lambda file, content=content: file.write(content))  # type: ignore[misc]
