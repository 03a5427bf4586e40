"""One stack of layers for all ranges, of which each range uses its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._torch_state import compiling, hides_values, in_backward, in_export, in_graph
from hardgrad._tracing import eagerly
from hardgrad.switch.arguments import branch_number, modules, router
from hardgrad.switch.branches.marks import Marks
from hardgrad.switch.branches.outputs import as_column, may_require_grad, of_no_rows
from hardgrad.switch.conditions.condition import Router, count, without_values
from hardgrad.switch.keys import check_source, refuse_learning
from hardgrad.switch.layer_tables import Table, dropout_of, mask_of
from hardgrad.switch.rows import routed
from hardgrad.switch.shards import refuse_shards
from hardgrad.switch.shared_layer import SharedLayer


class LayerMask(nn.Module):
    r"""Run each row through those layers of one shared stack that its range enables.

    .. math:: x^{(l+1)} = \begin{cases} f_l(x^{(l)}) & m_{r(k), l} \\ x^{(l)} & \text{otherwise} \end{cases}

    Where ``Switch`` gives every range parameters of its own, here ranges share the layers that they both use: a
    convolution at the extremes, a recurrent layer in the middle, one head for all. Rows are routed at each layer: one
    that does not see a row does not run on it, and one that no row of the batch enabled does not run and gets no
    gradient (in a graph one of zeros, see ``drop_unvisited_grads()``). What a layer that may be skipped returns takes
    its input's dtype, so that autocast does not make it depend on the rest of the batch.

    Args:
        layers: ``nn.Sequential`` or a list of modules, L of them. A layer that some range may skip must return its
            input's shape; one that every range always runs may change it.
        ranges: the condition, of N ranges.
        mask: (N, L), True where the range runs the layer. None: every range runs every layer.
        dropout: in training, the probability that a row skips a layer that its range enables: one number, or (N, L).
            Drawn for each row and layer; outputs are not scaled, and ``eval()`` runs the mask alone.
        key: a function of x, or the number of a column of it, if ``forward`` is not given a key.
        generator: source of the draws; torch's global one by default. An activation checkpoint cannot put back another
            one, and raises.

    Shape:
        x: (B, ...), or (B, T, ...) for a key per time step. key: x's leading dimensions, with a ``Grid`` or ``If`` a
        last one more. Returns the key's leading dimensions followed by what the layers return for one row.

    Attributes:
        layers: ``nn.ModuleList``; ``branch(i)`` is range i's part of it as an ordinary module, its parameters shared.
        mask: bool (N, L), saved in ``state_dict()``; loading checks it.

    Raises:
        ValueError: for no layers, a mask or dropout of another shape or out of range, a key that does not match x, a
            layer that may be skipped and returns another shape than its input's, or points that learn, in training.

    Note:
        ``torch.compile`` takes no ``torch.func`` derivative of this layer: torch raises. Compile the model, and
        differentiate outside of it.

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
        router("LayerMask", ranges)
        modules("LayerMask", "layers", layers)
        check_source("LayerMask", key)
        if isinstance(layers, nn.Module) and not isinstance(layers, nn.Sequential | nn.ModuleList):
            raise TypeError(
                f"LayerMask: layers must be torch.nn.Sequential or a list of modules, got {type(layers).__name__}; "
                "give [layer] for a single one"
            )
        self.layers = nn.ModuleList(layers)
        if not len(self.layers):
            raise ValueError("LayerMask: layers must be at least one, got none")
        shape = (ranges.branches, len(self.layers))
        self.ranges = ranges
        self._mask = mask_of(mask, shape)
        self.register_buffer("mask", torch.tensor(self._mask))
        self.dropout = dropout_of(dropout, shape)
        self.key = key
        self.generator = _check.generator("LayerMask", generator)
        # Known without a read-back, so that a graph may ask.
        columns = zip(zip(*self._mask, strict=True), zip(*self.dropout, strict=True), strict=True)
        self._skippable = [any(drop) or not all(runs) for runs, drop in columns]
        self._mark_anew()

    def branch(self, i: int) -> nn.Sequential:
        """Return the layers that range i runs, as one module; its parameters are those of the whole stack."""
        i = branch_number("LayerMask.branch", i, self.ranges.branches)
        return nn.Sequential(*(layer for layer, runs in zip(self.layers, self.mask[i].tolist(), strict=True) if runs))

    def forward(self, x: Tensor, key: Tensor | None = None) -> Tensor:
        if in_graph() and (reason := self._not_in_a_graph()):
            y: Tensor = eagerly(reason, self._run, x, key)
            return y
        return self._run(x, key)

    def drop_unvisited_grads(self) -> None:
        """Set ``grad`` to None in the layers that none of the rows went through that gradients came from.

        Eager code needs this never. A compiled graph runs every layer on its rows, maybe none, and gives an unvisited
        one a gradient of zeros, with which momentum and weight decay still move it: call this before ``step()``, as
        ``Switch.drop_unvisited_grads``.
        """
        self._marks.drop()

    def _run(self, x: Tensor, key: Tensor | None) -> Tensor:
        refuse_learning(self, self.ranges)
        refuse_shards(self)
        rows, key, index, shape = routed("LayerMask", self.ranges, self.key, x, key)
        if not hides_values(index):
            self.ranges.add_visits(count(index, self.ranges.branches), key)
        rows = self._through(rows, index) if in_graph() or len(index) else self._no_rows(rows)
        return rows.unflatten(0, shape) if len(shape) > 1 else rows

    def _through(self, rows: Tensor, index: Tensor) -> Tensor:
        runs, caller = self._runs(index), rows
        for layer in self._stack():
            rows = layer.run(rows, runs, caller)
        if not without_values(index):
            return rows
        if compiling() and not in_export() and may_require_grad():
            rows = self._marks.of(rows, runs.sum(0))
        # A key that is NaN cannot raise here: it leads nowhere, and nothing comes of its row.
        nothing = torch.nan if rows.is_floating_point() or rows.is_complex() else 0
        return torch.where(as_column(index >= 0, rows), rows, nothing)

    def _stack(self) -> list[SharedLayer]:
        return [SharedLayer(number, layer, self._skippable[number]) for number, layer in enumerate(self.layers)]

    def _runs(self, index: Tensor) -> Tensor:
        """Which row runs which layer, bool (B, L)."""
        hidden = without_values(index)
        runs = self.mask.index_select(0, index.clamp(min=0) if hidden else index)
        runs = runs & (index >= 0).unsqueeze(1) if hidden else runs
        if not self._draws():
            return runs
        if self.generator is not None and in_backward():
            raise RuntimeError(
                "LayerMask: an activation checkpoint runs the layer again, and cannot put back a generator of its own "
                "for the same draws; build the layer without generator, so that torch's global one is used"
            )
        chance = torch.tensor(self.dropout, dtype=torch.float64, device=index.device).index_select(0, index)
        options: dict[str, Any] = {"device": index.device}
        if self.generator is not None:
            options = {"device": self.generator.device, "generator": self.generator}
        return runs & (torch.rand(runs.shape, dtype=torch.float64, **options).to(index.device) >= chance)

    def _draws(self) -> bool:
        return self.training and any(map(any, self.dropout))

    def _not_in_a_graph(self) -> str:
        """Why this layer cannot be part of a graph now, or nothing."""
        if self._draws() and self.generator is not None:
            return (
                "LayerMask: a graph cannot draw from a generator of the layer's own; build the layer without "
                "generator, or let torch.compile break the graph here (fullgraph=False)"
            )
        return next(filter(None, (layer.mixes_rows() for layer in self._stack())), "")

    def _no_rows(self, rows: Tensor) -> Tensor:
        """What comes of no rows: no layer runs."""
        row = rows.new_zeros(1, *rows.shape[1:])
        for layer in self._stack():
            row = layer.row_of_no_rows(row)
        return of_no_rows(row.new_zeros(0, *row.shape[1:]))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LayerMask:
        kept = torch.tensor(self._mask, device="cpu") if self.mask.is_meta else self.mask
        super()._apply(fn, recurse)
        if not self.mask.is_meta:  # to_empty() leaves anything
            self.mask.copy_(kept)
        self._mark_anew()
        return self

    def _mark_anew(self) -> None:
        self._marks = Marks(self.layers, self.ranges.visits.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        saved = state_dict.get(prefix + "mask")
        mine = [list(row) for row in self._mask] if self.mask.is_meta else self.mask.tolist()
        if saved is not None and saved.tolist() != mine:
            raise ValueError(
                f"LayerMask: the state to load has the mask {saved.tolist()}, and this layer {mine}; "
                "build the layer with the saved mask before loading"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        return (
            f"mask={[[int(runs) for runs in row] for row in self._mask]}, dropout={[list(row) for row in self.dropout]}"
        )
