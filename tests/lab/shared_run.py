"""A tiny run that two processes share, as under torchrun, and what becomes of it in every case that matters."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from rich.console import Console
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.runs import spread
from hardgrad_lab.runs.execute import How, execute
from hardgrad_lab.runs.loop import Plan, Training
from hardgrad_lab.runs.record import Run

STEPS = 12
BATCH = 8


class Rows:
    """Batches that follow from a generator; each process takes its part."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(5)

    def batch(self) -> tuple[Tensor, Tensor]:
        x = torch.randn(BATCH, 4, generator=self.generator)
        return spread.mine(x), spread.mine(x.sum(1, keepdim=True).sign())

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])


def a_run(**config: Any) -> Run:
    return Run(experiment="shared", label="tiny", config=config, seed=3)


def begin(device: torch.device, *, dropout: float = 0.0, steps: int = STEPS) -> tuple[Training, Plan]:
    bridge = hg.Bridge(hg.hard.sign, hg.approximators.mlp(6, 6, hidden=[8]))
    model = nn.Sequential(nn.Linear(4, 6), bridge, nn.Dropout(dropout), nn.Linear(6, 1)).to(device)
    model.register_module("left_out", nn.Linear(2, 2))  # has no gradient in any process
    training = Training(
        model=model,
        optimizers=[torch.optim.Adam(model.parameters(), lr=0.01)],
        schedulers=[],
        stream=Rows(),
        loss=lambda x, y: (model[:4](x) - y).square().mean(),
        evaluate=lambda last: {"points": float(last)},
        rows="numbers drawn anew",
    )
    return training, Plan(steps=steps, evaluate_every=4)


class Shared:
    """What one process of a shared run goes through; ``found`` is what it saw."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.found = folder, dict[str, Any]()

    def go(self, name: str, *, resume: bool = False, every: int = 0, steps: int = STEPS, **options: Any) -> None:
        """Bring a run to its end, or keep the error that ends it, and how far it came."""
        kept: dict[str, Any] = {}

        def begun(device: torch.device) -> tuple[Training, Plan]:
            training, plan = begin(device, dropout=options.get("dropout", 0.0), steps=steps)
            kept["training"] = training
            if "each" in options:
                training.step = partial(options["each"], training, training.step)  # type: ignore[method-assign]
            return training, plan

        how = How(results=self.folder / name, device="cpu", resume=resume, checkpoint_every=every)
        self.found[name] = {}
        try:
            outcome = execute(a_run(dropout=options.get("dropout", 0.0)), begun, how, Console(quiet=True))
            self.found[name]["record"] = outcome.record
        except BaseException as error:
            self.found[name]["error"] = f"{type(error).__name__}: {error}"
        if "training" in kept:
            training = kept["training"]
            self.found[name] |= {"weights": training.model.state_dict(), "steps": training.steps}
        self.found[name]["random"] = torch.get_rng_state()


def stop_at(step: int, training: Training, go_on: Callable[..., None], *words: Any) -> None:
    if training.steps == step:
        raise KeyboardInterrupt
    go_on(*words)


def signal_in_the_second(training: Training, go_on: Callable[..., None], *words: Any) -> None:
    time.sleep(0.02)
    if training.steps == 3 and spread.rank() == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    go_on(*words)


def nan_in_the_second(training: Training, go_on: Callable[..., None], *words: Any) -> None:
    go_on(*words)
    if spread.rank() == 1:
        training.sums[0] = float("nan")


def everything(folder: Path) -> dict[str, Any]:
    """Go through all cases in this process."""
    shared = Shared(folder)
    shared.go("plain")
    shared.go("noisy", dropout=0.5)
    shared.go("resumed", dropout=0.5, every=5, each=partial(stop_at, 7))
    shared.go("resumed", dropout=0.5, resume=True)
    shared.go("again")
    shared.go("again")
    shared.go("signal", steps=2000, each=signal_in_the_second)
    shared.go("nan", each=nan_in_the_second)
    shared.go("damaged", every=5, each=partial(stop_at, 7))
    if spread.rank() == 0:
        path = a_run(dropout=0.0).checkpoint_path(folder / "damaged")
        path.write_bytes(path.read_bytes()[:100])
    shared.go("damaged", resume=True)
    return shared.found


def _work(rank: int, folder: str, port: int) -> None:
    torch.set_num_threads(1)
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in names.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "a test"}
    found = everything(Path(folder) / f"machine{rank}")  # as on two machines that share no folder
    torch.save(found, Path(folder) / f"{rank}.pt")


def two_processes(folder: Path) -> list[dict[str, Any]]:
    """Return what each of two processes saw."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_work, args=(str(folder), port), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]
