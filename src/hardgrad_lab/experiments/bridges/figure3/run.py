"""One run of figure 3: a dense network, numbers drawn anew, and three looks at what it has become."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.data.root import Root
from hardgrad_lab.experiments.bridges.figure3 import Figure3
from hardgrad_lab.runs.atomic import write_atomically
from hardgrad_lab.runs.execute import How, Outcome, execute
from hardgrad_lab.runs.loop import Plan, Training
from hardgrad_lab.runs.record import Run
from hardgrad_lab.runs.spread import mine

NEAR = 0.05  # how far from a jump counts as near it; the three bands are a tenth of the range


class Numbers:
    """Numbers of U(-1, 1) without end, and their hard values.

    Args:
        config: of the run.
        seed: of the draws.
        device: where they are drawn.
    """

    def __init__(self, config: Figure3, seed: int, device: torch.device) -> None:
        self.config = config
        self.generator = torch.Generator(device).manual_seed(seed)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return the next numbers and their hard values, (batch, 1) each; in a shared run, this process's of them."""
        shape = (self.config.batch, 1)
        x = mine(torch.rand(shape, generator=self.generator, device=self.generator.device) * 2 - 1)
        return x, hg.hard.sign(x, self.config.margin)

    def state_dict(self) -> dict[str, Tensor]:
        """Return where the draws stand."""
        return {"random": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where ``state`` was taken."""
        self.generator.set_state(state["random"])


def reproduce(run: Run, config: Figure3, seed: int, root: Root, how: How, console: Console) -> Outcome:
    """Train one network, or find its record; see ``runs.execute.execute`` for what it raises."""
    del root  # the data are drawn
    return execute(run, lambda device: begin(config, seed, device), how, console)


def begin(config: Figure3, seed: int, device: torch.device) -> tuple[Training, Plan]:
    """Return the training of a run at step 0, and its plan. Torch's global seed must be set."""
    hidden = [config.width] * (config.layers - 1)
    model = hg.approximators.mlp(1, 1, hidden=hidden, activation=nn.ELU).to(device)
    plan = Plan(steps=config.steps, evaluate_every=max(1, config.steps // 50))
    training = Training(
        model=model,
        optimizers=[torch.optim.Adam(model.parameters(), lr=config.lr)],
        schedulers=[],
        stream=Numbers(config, seed, device),
        loss=lambda x, y: F.mse_loss(model(x), y),
        evaluate=lambda last: measure(config, *look(config, model, device)),
        keep=keep,
        sums=torch.zeros(2, dtype=torch.float64, device=device),
    )
    return training, plan


def look(config: Figure3, model: nn.Module, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return x between -1 and 1, the network's outputs there and its gradients, (points,) each."""
    x = torch.linspace(-1, 1, config.points, device=device)
    with torch.enable_grad():
        entry = x.clone().requires_grad_()
        output = model(entry.unsqueeze(1)).squeeze(1)
        (gradient,) = torch.autograd.grad(output.sum(), entry)
    return x, output.detach(), gradient


def measure(config: Figure3, x: Tensor, output: Tensor, gradient: Tensor) -> dict[str, float]:
    """Return the error, the mean gradient near the two jumps and elsewhere, and all outputs and gradients."""
    hard = hg.hard.sign(x, config.margin)
    near = (x.abs() - config.margin).abs() < NEAR
    found = {
        "error": F.mse_loss(output, hard).item(),
        "gradient_at_jumps": gradient[near].mean().item(),
        "gradient_elsewhere": gradient[~near].mean().item(),
    }
    for name, values in {"x": x, "hard": hard, "output": output, "gradient": gradient}.items():
        found |= {f"{name}@{place}": value for place, value in enumerate(values.tolist())}
    return found


def keep(training: Training, results: Path, name: str) -> None:
    """Write x, the hard values, and outputs and gradients at three times, as ``curves/NAME.npz``.

    Its arrays: step (3,); x, hard, output, gradient (3, points).
    """
    points = [training.curve[place] for place in (0, len(training.curve) // 2, -1)]
    batch = training.samples // training.steps
    looked = {what: [_column(point, what) for point in points] for what in ("x", "hard", "output", "gradient")}
    arrays = {what: np.array(values, dtype=np.float32) for what, values in looked.items()}
    step = np.array([point["samples"] // batch for point in points])
    path = results / "curves" / f"{name}.npz"
    write_atomically(path, lambda file: np.savez_compressed(file, allow_pickle=False, step=step, **arrays))


def _column(point: dict[str, float], what: str) -> list[float]:
    return [value for key, value in point.items() if key.startswith(f"{what}@")]
