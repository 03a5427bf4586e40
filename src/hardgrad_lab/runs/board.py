"""The curve of a run for TensorBoard, which is asked for and need not be installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from hardgrad_lab.runs.loop import Training


class Board:
    """Write every point of a curve, and the learning rates, where TensorBoard finds them.

    Args:
        folder: of the run.
        begun: steps taken in earlier sittings; points that a killed one wrote after them are taken back.

    Raises:
        ValueError: if TensorBoard is not installed.
    """

    def __init__(self, folder: Path, begun: int) -> None:
        if find_spec("tensorboard") is None:
            raise ValueError("--tensorboard needs TensorBoard; install it with: pip install 'hardgrad[tensorboard]'")
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder), purge_step=begun or None)

    def step(self, training: Training) -> None:
        """Write nothing: a step's loss is on the device."""
        del training

    def point(self, training: Training) -> None:
        """Write the last point."""
        values = {name: value for name, value in training.curve[-1].items() if "@" not in name and name != "samples"}
        for number, optimizer in enumerate(training.optimizers):
            for place, group in enumerate(optimizer.param_groups):
                values[f"learning rate/{number}.{place}"] = float(group["lr"])
        for name, value in values.items():
            self.writer.add_scalar(name, value, training.steps)
        self.writer.flush()
