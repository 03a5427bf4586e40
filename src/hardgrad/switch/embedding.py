"""A number into a vector, by one affine map for each range it may fall into."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal, cast

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._torch_state import hides_values, in_graph
from hardgrad._tracing import has_autocast
from hardgrad.switch.arguments import integer
from hardgrad.switch.branch_layer import BranchLayer
from hardgrad.switch.branches.branches import Branches
from hardgrad.switch.branches.build import one_per_range
from hardgrad.switch.conditions.condition import Router, count
from hardgrad.switch.keys import branch_of, key_of


class RangeEmbedding(BranchLayer):
    r"""Turn each number into a vector, by the affine map of the range that it falls into.

    .. math:: y = w_{r(x)}\, x + b_{r(x)}

    A piecewise affine curve through feature space with a jump at every point: what a layer over one-dimensional inputs
    (samples, amplitudes, knobs) reads instead of the bare number. In meaning and in promise it is the ``Switch`` of
    ``Linear(1, features)`` branches whose key is its input: each range's map is its own parameter, and one that no
    number fell into gets no gradient, so no optimizer moves it. Only the way is another: one gather of the visited maps
    instead of a call for each. In a compiled graph, which cannot know the visited ones, those gradients are zero, as in
    ``Switch``.

    Args:
        ranges: the condition on a number: ``Ranges``, ``LearnedRanges``.
        features: F, the length of the vectors.
        init: "independent" or "identical" initial maps.
        normalize: whether a number is first mapped so that its range becomes [-1, 1]; then b is the vector at the
            range's center, and w the way from there to its end. Needs finite points. Without it, maps of a narrow
            range far from zero learn slowly, since w and b say almost the same.

    Shape:
        x: any shape (...), floating point or integer. Returns (..., F) in the parameters' dtype, under autocast too. A
        ``key`` of x's shape takes the range from another number than x.

    Raises:
        ValueError: for no features, ranges of several keys, a key of another shape, or as ``Ranges``.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.RangeEmbedding(hg.Ranges([-1, 0, 1]), 4)
        >>> layer(torch.tensor([[-0.5, -0.1, -0.9]])).shape
        torch.Size([1, 3, 4])
        >>> layer(torch.tensor([-0.5, -0.1])).sum().backward()
        >>> layer.branch(0).weight.grad is None, layer.branch(1).weight.grad is None
        (False, True)

    Source: Clarke 2025, LACTOSE, section 3: the "embedded feature extraction mechanism for 1D inputs".
    """

    def __init__(
        self,
        ranges: Router,
        features: int,
        *,
        init: Literal["independent", "identical"] = "independent",
        normalize: bool = False,
    ) -> None:
        if integer("RangeEmbedding", "features", features, "it is the length of the vectors") < 1:
            raise ValueError(f"RangeEmbedding: features must be at least one, got {features}")
        if not isinstance(ranges, Router):
            raise ValueError(f"RangeEmbedding: ranges must be Ranges or LearnedRanges, got {type(ranges).__name__}")
        if ranges.keys:
            raise ValueError(
                f"RangeEmbedding: ranges must be of one number, got {type(ranges).__name__} of {ranges.keys} keys; "
                "embed each number by itself"
            )
        if not isinstance(normalize, bool):
            raise ValueError(f"RangeEmbedding: normalize must be True or False, got {normalize!r}")
        _check.one_of("RangeEmbedding", "init", init, ("independent", "identical"))
        super().__init__(ranges, one_per_range(ranges, nn.Linear(1, features), init), normalize=normalize)
        self.features = features

    def forward(self, x: Tensor, key: Tensor | None = None) -> Tensor:
        key = key_of("RangeEmbedding", None, x, x if key is None else key)
        if key.shape != x.shape:
            raise ValueError(
                f"RangeEmbedding: key must have x's shape, got key {tuple(key.shape)} and x {tuple(x.shape)}"
            )
        if self._learns or hides_values(key) or not (in_graph() or x.numel()):
            return self._one_by_one(x, key)  # which knows learned points, vmap and the empty batch
        index = branch_of(self.ranges, key, "RangeEmbedding").reshape(-1)
        counts = count(index, len(self.branches))
        maps = self._maps(counts)
        if maps is None:
            return self._one_by_one(x, key)
        self.ranges.add_visits(counts, key)
        y = self._mapped(x, index, counts, *maps)
        return y.reshape(*x.shape, self.features)

    def bundle(self) -> Branches:
        dtype = next((p.dtype for p in self.branches[0].parameters()), torch.get_default_dtype())
        return Branches(self.branches, self.normalise, marks=self._marks, dtype=dtype)

    def _maps(self, counts: Tensor) -> tuple[Tensor, Tensor] | None:
        """Stack the maps of the visited ranges, of all in a graph; None where a branch is more than its map."""
        visited = range(len(self.branches)) if in_graph() else counts.nonzero()[:, 0].tolist()
        branches = [cast(nn.Linear, self.branches[i]) for i in visited]
        if not all(map(_bare, branches)):
            return None
        # Stacked anew in every call: one parameter for all ranges would give those not visited a gradient of zero, and
        # momentum and weight decay would move them.
        weight = torch.stack([branch.weight for branch in branches]).squeeze(-1)
        return weight, torch.stack([branch.bias for branch in branches])

    def _mapped(self, x: Tensor, index: Tensor, counts: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        row = index if len(weight) == len(self.branches) else ((counts > 0).cumsum(0) - 1).index_select(0, index)
        known = row.clamp(min=0) if in_graph() else row
        numbers = self.scaled(_floating(x.reshape(-1)), known).to(weight.dtype).unsqueeze(1)
        y = torch.addcmul(bias.index_select(0, known), weight.index_select(0, known), numbers)
        if not in_graph():
            return y
        y = torch.where(index.unsqueeze(1) >= 0, y, torch.nan)
        return self._marks.of(y, counts)

    def _one_by_one(self, x: Tensor, key: Tensor) -> Tensor:
        """Call the maps as the modules that they are."""
        rows, kind = _floating(torch.atleast_1d(x)).unsqueeze(-1), x.device.type
        with torch.autocast(kind, enabled=False) if has_autocast(kind) else nullcontext():
            return self.through_branches(rows, torch.atleast_1d(key)).reshape(*x.shape, self.features)


def _bare(branch: nn.Module) -> bool:
    """Whether a branch is a linear layer and nothing else, so that its weights say all of it."""
    return type(branch) is nn.Linear and not (
        branch._forward_hooks
        or branch._forward_pre_hooks
        or branch._backward_hooks
        or branch._backward_pre_hooks
        or "forward" in branch.__dict__
    )


def _floating(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.double()
