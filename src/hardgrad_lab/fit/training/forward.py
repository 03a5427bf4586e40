"""A model's outputs for many rows: in chunks, without gradients, without counting visits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.fit.rows import Rows
from hardgrad_lab.fit.training.stacks import stacks_of

CHUNK = 65_536  # values of rows x inputs x 2 that an evaluation holds at a time; bounds its memory
MOST_ROWS = 4_096  # at a time: what hidden layers hold of them should fit a cache


def forward(model: nn.Module, rows: Rows, chosen: Tensor) -> Tensor:
    """Return the model's outputs for chosen rows, (len(chosen), ...), in ``eval()`` and without counting visits."""
    if (stacks := stacks_of(model)) is not None:
        return torch.cat([stacks.run(rows, part)[0] for part in chosen.split(stacks.rows_at_once)])
    training = model.training
    model.eval()
    size = rows_at_once(rows.window * rows.columns.shape[1])
    with torch.no_grad(), uncounted(model):
        outputs = torch.cat([model(*rows.take(part)) for part in chosen.split(size)])
    model.train(training)
    return outputs


def rows_at_once(inputs: int) -> int:
    """Return how many rows of so many inputs are evaluated at a time; sounds are streamed in the same steps."""
    return min(MOST_ROWS, max(256, 2 * CHUNK // max(1, inputs)))


class uncounted:
    """Within this scope a model's counters of visits stay as they were."""

    def __init__(self, model: nn.Module) -> None:
        names = ("visits", "below", "above")
        routers = [module for module in model.modules() if isinstance(module, hg.switch.PointRouter)]
        self._counters = [getattr(router, name) for router in routers for name in names]

    def __enter__(self) -> None:
        self._before = [counter.clone() for counter in self._counters]

    def __exit__(self, *_: object) -> None:
        for counter, before in zip(self._counters, self._before, strict=True):
            counter.copy_(before)
