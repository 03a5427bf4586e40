"""Loss and visits of each range over time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hardgrad.switch.routers.router import Router
from hardgrad.switch.switch import Switch


class History:
    """How the loss of each range, and its share of the rows, went over time.

    ``add`` counts rows; ``mark`` ends an interval, an epoch say, and starts the next. Nothing is read back from the
    device before ``mark``.

    Args:
        switch: the switch, or its ranges.

    Attributes:
        loss: float64 (T, branches), the mean loss of each range's rows in each interval; NaN where it had none.
        visits: int64 (T, branches), its rows in each interval.
        steps: what ``mark`` was given for each interval, T entries.

    Example:
        >>> import torch, hardgrad as hg
        >>> history = hg.switch.History(hg.Ranges([0.0, 1.0, 2.0]))
        >>> history.add(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 1]))
        >>> history.mark(100)
        >>> history.add(torch.tensor([0.5]), torch.tensor([1]))
        >>> history.mark(200)
        >>> history.loss.tolist(), history.visits.tolist()
        ([[2.0, 5.0], [nan, 0.5]], [[2, 1], [0, 1]])
        >>> print(history)
        range      rows  loss at 100  loss at 200
        [0, 1)        2            2          nan
        [1, 2]        2            5          0.5
    """

    def __init__(self, switch: Switch | Router) -> None:
        self._ranges = switch.ranges if isinstance(switch, Switch) else switch
        self.steps: list[int] = []
        self._losses: list[Tensor] = []
        self._visits: list[Tensor] = []
        self._sums = torch.zeros(self._ranges.branches, dtype=torch.float64)
        self._counts = torch.zeros(self._ranges.branches, dtype=torch.int64)

    @property
    def loss(self) -> Tensor:
        return torch.stack(self._losses) if self._losses else torch.zeros(0, self._ranges.branches).double()

    @property
    def visits(self) -> Tensor:
        return torch.stack(self._visits) if self._visits else torch.zeros(0, self._ranges.branches, dtype=torch.int64)

    def add(self, losses: Tensor, index: Tensor) -> None:
        """Add rows to the open interval.

        Args:
            losses: (B, ...), what follows index's dimensions is averaged; no gradient is kept.
            index: branch of each row, int64 (B,) or (B, T): ``switch.ranges.index(key)``.

        Raises:
            ValueError: if losses does not begin with index's shape.
        """
        if losses.shape[: index.ndim] != index.shape or not index.ndim:
            raise ValueError(
                f"History: losses must begin with index's shape {tuple(index.shape)}, got {tuple(losses.shape)}; give "
                'one loss a row, with reduction="none"'
            )
        if not index.numel():
            return
        each = losses.detach().reshape(index.numel(), -1).double().mean(1)
        index = index.reshape(-1)
        self._sums = self._sums.to(each.device).index_add(0, index, each)
        self._counts = self._counts.to(each.device).index_add(0, index, torch.ones_like(index))

    def mark(self, step: int | None = None) -> None:
        """End the interval.

        Args:
            step: where it ends, for the table: an epoch or a step. None counts the intervals.
        """
        self.steps.append(len(self.steps) + 1 if step is None else step)
        counts = self._counts.cpu()
        self._losses.append(torch.where(counts > 0, self._sums.cpu() / counts, torch.nan))
        self._visits.append(counts)
        self._clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the closed intervals, to be saved with a checkpoint."""
        return {"steps": list(self.steps), "loss": self.loss, "visits": self.visits}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from saved intervals; the open one is dropped.

        Raises:
            ValueError: if the state is of another number of ranges.
        """
        if state["loss"].shape[1] != self._ranges.branches:
            raise ValueError(
                f"History: the state to load has {state['loss'].shape[1]} ranges, and this one "
                f"{self._ranges.branches}; build it with the saved switch"
            )
        self.steps = list(state["steps"])
        self._losses, self._visits = list(state["loss"]), list(state["visits"])
        self._clear()

    def __str__(self) -> str:
        labels = [self._ranges.label(i) for i in range(self._ranges.branches)]
        wide = max(8, *map(len, labels))
        heads = [f"loss at {step}" for step in self.steps[-4:]]
        lines = [f"{'range':<{wide}} {'rows':>6}" + "".join(f"  {head:>11}" for head in heads)]
        rows = self.visits.sum(0).tolist()
        for i, label in enumerate(labels):
            losses = "".join(f"  {loss[i].item():>11.4g}" for loss in self._losses[-4:])
            lines.append(f"{label:<{wide}} {rows[i]:>6}{losses}")
        return "\n".join(lines)

    def _clear(self) -> None:
        self._sums, self._counts = torch.zeros_like(self._sums), torch.zeros_like(self._counts)
