"""One run of `latents`: build, train, measure, draw."""

from __future__ import annotations

import torch
from rich.console import Console

from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.latents import Latents
from hardgrad_lab.experiments.bridges.latents.data import load, stream
from hardgrad_lab.experiments.bridges.latents.measures import Measures, draw
from hardgrad_lab.experiments.bridges.latents.model import build
from hardgrad_lab.runs.execute import How, Outcome, execute
from hardgrad_lab.runs.loop import Plan, Training
from hardgrad_lab.runs.record import Run
from hardgrad_lab.runs.schedule import schedulers


def reproduce(run: Run, config: Latents, seed: int, root: Root, how: How, console: Console) -> Outcome:
    """Train one autoencoder, or find its record; see ``runs.execute.execute`` for what it raises."""
    return execute(run, lambda device: begin(config, seed, root, device), how, console)


def begin(config: Latents, seed: int, root: Root, device: torch.device) -> tuple[Training, Plan]:
    """Return the training of a run at step 0, and its plan. Torch's global seed must be set."""
    data = load(root, config.dataset, config.folder)
    model = build(config, data, device).to(device)
    # With the channels last a step of the small U-Net takes a quarter less time on a CPU.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stubs lack this form
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.RMSprop
    optimizer = kind(model.parameters(), lr=config.lr)
    measures = Measures(config=config, model=model, data=data, device=device)
    training = Training(
        model=model,
        optimizers=[optimizer],
        schedulers=schedulers(config.schedule, [optimizer], config.steps),
        stream=stream(config, data.train, seed, device),
        loss=lambda x, y: model(x).mean(),
        evaluate=measures,
        rows=f"trained on {data.train.what}; tested on {data.test.what}",
        keep=lambda training, results, name: draw(measures, results / "pictures" / f"{name}.png"),
        sums=torch.zeros(2, dtype=torch.float64, device=device),
    )
    return training, Plan(steps=config.steps, evaluate_every=-(-config.steps // config.evaluations))
