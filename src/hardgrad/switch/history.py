"""Loss and visits of each range over time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hardgrad._shown.page import page
from hardgrad._shown.pictures import line
from hardgrad._shown.table import Table
from hardgrad._torch_state import compiling, in_export, in_graph, in_transform
from hardgrad.switch.arguments import index_of, one_loss_a_row
from hardgrad.switch.conditions.condition import Router


class History:
    """How the loss of each range, and its share of the rows, went over time.

    ``add`` counts rows; ``mark`` ends an interval, an epoch say, and starts the next. Nothing is read back from the
    device before ``mark``.

    Args:
        switch: the switch, or its ranges; any layer that has ``ranges`` will do.

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
        range   rows  loss at 100  loss at 200
        [0, 1)     2            2          nan
        [1, 2]     2            5          0.5
    """

    def __init__(self, switch: nn.Module) -> None:
        self._ranges = _ranges_of(switch)
        self._branches = self._ranges.branches
        self.steps: list[int] = []
        self._losses: list[Tensor] = []
        self._visits: list[Tensor] = []
        self._sums = torch.zeros(self._branches, dtype=torch.float64, device="cpu")
        self._counts = torch.zeros(self._branches, dtype=torch.int64, device="cpu")

    @property
    def loss(self) -> Tensor:
        return torch.stack(self._losses) if self._losses else torch.zeros(0, self._branches, dtype=torch.float64)

    @property
    def visits(self) -> Tensor:
        return torch.stack(self._visits) if self._visits else torch.zeros(0, self._branches, dtype=torch.int64)

    def add(self, losses: Tensor, index: Tensor) -> None:
        """Add rows to the open interval.

        Args:
            losses: (B, ...), what follows index's dimensions is averaged; no gradient is kept.
            index: branch of each row, int64 (B,) or (B, T): ``switch.ranges.index(key)``.

        Raises:
            ValueError: if losses does not begin with index's shape, index is not of branch numbers, or the switch has
                got another number of ranges since this history began.
            RuntimeError: under ``torch.func`` and in an exported graph: nothing of them may be kept.
        """
        if in_transform() or (in_graph() and not compiling()) or in_export():
            raise RuntimeError(
                "History: add keeps sums between calls, which torch.func and exported graphs do not allow; return the "
                "losses, and call add outside"
            )
        self._check_branches()
        index = index_of("History", index, self._branches)
        losses = one_loss_a_row("History", "losses", losses, index)
        if not index.numel():
            return
        means = losses.detach().reshape(index.numel(), -1).double().mean(1)
        index = index.reshape(-1)
        self._sums = self._sums.to(means.device).index_add(0, index, means)
        self._counts = self._counts.to(means.device).index_add(0, index, torch.ones_like(index))

    def mark(self, step: int | None = None) -> None:
        """End the interval; without rows its losses are NaN.

        Args:
            step: where it ends, for the table: an epoch or a step. None counts the intervals.
        """
        self._check_branches()
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
        if not isinstance(state, dict) or not {"steps", "loss", "visits"} <= set(state):
            got = sorted(map(str, state)) if isinstance(state, dict) else type(state).__name__
            raise ValueError(
                f"History: state must be what state_dict() returned, with steps, loss and visits, got {got}"
            )
        loss, visits = state["loss"].cpu().double(), state["visits"].cpu().long()
        if loss.shape[1] != self._branches:
            raise ValueError(
                f"History: the state to load has {loss.shape[1]} ranges, and this one {self._branches}; build it with "
                "the saved switch"
            )
        if not len(loss) == len(visits) == len(state["steps"]):
            raise ValueError(
                f"History: state must have one entry for each interval, got {len(state['steps'])} steps, "
                f"{len(loss)} losses and {len(visits)} visits"
            )
        self.steps = list(state["steps"])
        self._losses, self._visits = list(loss.clone()), list(visits.clone())
        self._clear()

    def _check_branches(self) -> None:
        if self._ranges.branches != self._branches:
            raise ValueError(
                f"History: the switch has {self._ranges.branches} ranges now, and {self._branches} when this history "
                "began; start another History after a split or a merge"
            )

    def __str__(self) -> str:
        return "\n".join(self._table().lines())

    def __repr__(self) -> str:
        """Return one line; ``print`` shows the last losses."""
        return f"<History of {self._branches} ranges: {len(self.steps)} intervals>"

    def _repr_html_(self) -> str:
        """Return the last losses for a notebook, and all of them as lines."""
        return page(self._table().html("loss of each range over time"))

    def _table(self) -> Table:
        same = self._ranges.branches == self._branches
        labels = [self._ranges.label(i) if same else f"range {i}" for i in range(self._branches)]
        visits, losses = self.visits.sum(0).tolist(), self.loss.T.tolist()
        rows = [
            (label, str(rows), *(f"{loss:.4g}" for loss in mine[-4:]))
            for label, rows, mine in zip(labels, visits, losses, strict=True)
        ]
        heads = ("range", "rows", *(f"loss at {step}" for step in self.steps[-4:]))
        return Table(heads, rows, {len(heads) - 1: [line(mine) for mine in losses]} if self.steps else {})

    def _clear(self) -> None:
        self._sums, self._counts = torch.zeros_like(self._sums), torch.zeros_like(self._counts)


def _ranges_of(switch: nn.Module) -> Router:
    inner = getattr(switch, "switch", switch)  # a CrossFade's
    ranges = switch if isinstance(switch, Router) else getattr(inner, "ranges", None)
    if not isinstance(ranges, Router):
        raise TypeError(
            f"History: switch must be a switch or its ranges, got {type(switch).__name__}; take it out of its wrapper "
            "(model.module)"
        )
    return ranges
