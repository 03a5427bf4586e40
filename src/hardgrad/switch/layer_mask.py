"""One stack of layers for all ranges, of which each range uses its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad._torch_state import in_graph
from hardgrad.switch.keys import column, refuse_learning
from hardgrad.switch.routers.router import Router, count

Table = Sequence[Sequence[float]] | Tensor


class LayerMask(nn.Module):
    r"""Run each row through those layers of one shared stack that its range enables.

    .. math:: x^{(l+1)} = \begin{cases} f_l(x^{(l)}) & m_{r(k), l} \\ x^{(l)} & \text{otherwise} \end{cases}

    Where ``Switch`` gives every range parameters of its own, here ranges share the layers that they both use: a
    convolution at the extremes, a recurrent layer in the middle, one head for all. Rows are routed at each layer: one
    that does not see a row does not run on it, and one that no row of the batch enabled gets no gradient.

    Args:
        layers: ``nn.Sequential`` or a list of modules, L of them. A layer that some range may skip must return its
            input's shape; one that every range always runs may change it.
        ranges: the condition, of N ranges.
        mask: (N, L), True where the range runs the layer. None: every range runs every layer.
        dropout: in training, the probability that a row skips a layer that its range enables: one number, or (N, L).
            Drawn for each row and layer; outputs are not scaled, and ``eval()`` runs the mask alone.
        key: a function of x, or the number of a column of it, if ``forward`` is not given a key.
        generator: source of the draws; torch's global one by default.

    Shape:
        x: (B, ...), or (B, T, ...) for a key per time step. key: x's leading dimensions, with a ``Grid`` or ``If`` a
        last one more. Returns the key's leading dimensions followed by what the layers return for one row.

    Attributes:
        layers: ``nn.ModuleList``; ``branch(i)`` is range i's part of it as an ordinary module, its parameters shared.
        mask: bool (N, L), saved in ``state_dict()``; loading checks it.

    Raises:
        ValueError: for no layers, a mask or dropout of another shape or out of range, a key that does not match x, a
            layer that may be skipped and returns another shape than its input's, or points that learn, in training.

    Example:
        >>> import torch, hardgrad as hg
        >>> layers = [torch.nn.Linear(3, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)]
        >>> layer = hg.LayerMask(layers, hg.Ranges([-1, 0, 1]), [[True, True, True], [False, True, True]])
        >>> layer(torch.randn(4, 3), key=torch.tensor([0.5, 0.2, 0.9, 0.1])).sum().backward()
        >>> layer.layers[0].weight.grad is None, layer.layers[2].weight.grad is None
        (True, False)
        >>> len(layer.branch(1))
        2

    Source: Clarke 2025, LACTOSE, section 3: "setting a dropout on each layer, and masking of individual layers as the
    situation necessitates".
    """

    mask: Tensor

    def __init__(
        self,
        layers: nn.Sequential | Sequence[nn.Module],
        ranges: Router,
        mask: Table | None = None,
        *,
        dropout: float | Table = 0.0,
        key: Callable[[Tensor], Tensor] | int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        if not len(self.layers):
            raise ValueError("LayerMask: layers must be at least one, got none")
        shape = (ranges.branches, len(self.layers))
        self.ranges = ranges
        self.register_buffer("mask", _mask(mask, shape))
        self.dropout = _dropout(dropout, shape)
        self.key = key
        self.generator = generator
        # Known without a read-back, so that a graph may ask.
        dropped = torch.tensor(self.dropout).any(0).tolist()
        self._skippable = [drop or not all(runs) for runs, drop in zip(self.mask.t().tolist(), dropped, strict=True)]

    def branch(self, i: int) -> nn.Sequential:
        """Return the layers that range i runs, as one module; its parameters are those of the whole stack."""
        return nn.Sequential(*(layer for layer, runs in zip(self.layers, self.mask[i].tolist(), strict=True) if runs))

    def forward(self, x: Tensor, key: Tensor | None = None) -> Tensor:
        refuse_learning(self, self.ranges)
        key = column(self.key, x, "LayerMask") if key is None else key
        shape = key.shape if self.ranges.keys == 0 else key.shape[:-1]
        if not shape or x.shape[: len(shape)] != shape:
            what = "x's leading dimensions" + (" and a last one of the keys" if self.ranges.keys else "")
            raise ValueError(
                f"LayerMask: key must have {what}, got key {tuple(key.shape)} and x {tuple(x.shape)}; give one key a "
                "row, shape (B,), or one a time step, shape (B, T)"
            )
        index = self.ranges.index(key).reshape(-1)
        self.ranges.add_visits(count(index, self.ranges.branches))
        runs, rows = self._runs(index), x.flatten(0, len(shape) - 1)
        for number, layer in enumerate(self.layers):
            rows = self._through(number, rows, runs[:, number]) if self._skippable[number] else layer(rows)
        return rows.unflatten(0, shape) if len(shape) > 1 else rows

    def _runs(self, index: Tensor) -> Tensor:
        """Which row runs which layer, bool (B, L)."""
        runs = self.mask.index_select(0, index)
        if not (self.training and any(map(any, self.dropout))):
            return runs
        chance = torch.tensor(self.dropout, dtype=torch.float64, device=index.device).index_select(0, index)
        options: dict[str, Any] = {} if self.generator is None else {"generator": self.generator}
        return runs & (torch.rand(runs.shape, dtype=torch.float64, device=index.device, **options) >= chance)

    def _through(self, number: int, rows: Tensor, runs: Tensor) -> Tensor:
        mine = runs.nonzero()[:, 0]
        if not in_graph():
            if not len(mine):
                return rows
            if len(mine) == len(rows):
                return self._same_shape(number, rows)
        return rows.index_put((mine,), self._same_shape(number, rows.index_select(0, mine)).to(rows.dtype))

    def _same_shape(self, number: int, rows: Tensor) -> Tensor:
        y: Tensor = self.layers[number](rows)
        if y.shape[1:] != rows.shape[1:]:
            raise ValueError(
                f"LayerMask: layer {number} ({type(self.layers[number]).__name__}) may be skipped, so it must return "
                f"its input's shape for a row, {tuple(rows.shape[1:])}, got {tuple(y.shape[1:])}; enable it in every "
                "range without dropout, or give it equal sizes"
            )
        return y

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        saved = state_dict.get(prefix + "mask")
        if saved is not None and not torch.equal(saved.cpu(), self.mask.cpu()):
            raise ValueError(
                f"LayerMask: the state to load has the mask {saved.tolist()}, and this layer {self.mask.tolist()}; "
                "build the layer with the saved mask before loading"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        return f"mask={self.mask.int().tolist()}, dropout={[list(row) for row in self.dropout]}"


def _mask(mask: Table | None, shape: tuple[int, int]) -> Tensor:
    if mask is None:
        return torch.ones(shape, dtype=torch.bool)
    given = _table("mask", mask, shape)
    if not bool(((given == 0) | (given == 1)).all()):
        raise ValueError(f"LayerMask: mask must hold True and False, got {given.tolist()}")
    return given.bool()


def _dropout(dropout: float | Table, shape: tuple[int, int]) -> tuple[tuple[float, ...], ...]:
    given = torch.full(shape, float(dropout)) if isinstance(dropout, int | float) else _table("dropout", dropout, shape)
    if not bool(((given >= 0) & (given <= 1)).all()):
        raise ValueError(f"LayerMask: dropout must be probabilities, 0 to 1, got {given.tolist()}")
    return tuple(tuple(row) for row in given.double().tolist())


def _table(name: str, values: Table, shape: tuple[int, int]) -> Tensor:
    given = torch.as_tensor(values, device="cpu").detach()
    if given.shape != shape:
        raise ValueError(
            f"LayerMask: {name} must be (ranges, layers) = {shape}, got {tuple(given.shape)}; give each range one "
            "entry for each layer"
        )
    return given.clone()
