"""A number into a vector, by one affine map for each range it may fall into."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import in_graph
from hardgrad.switch.routers.router import Router, count
from hardgrad.switch.switch import Switch


class RangeEmbedding(Switch):
    r"""Turn each number into a vector, by the affine map of the range that it falls into.

    .. math:: y = w_{r(x)}\, x + b_{r(x)}

    A piecewise affine curve through feature space with a jump at every point: what a layer over one-dimensional inputs
    (samples, amplitudes, knobs) reads instead of the bare number. It is the ``Switch`` of ``Linear(1, features)``
    branches whose key is its input, in meaning and in promise: each range's map is its own parameter, and one that no
    number fell into gets no gradient, so no optimiser moves it. Only the way is another: one gather of the visited maps
    instead of a call for each. In a compiled graph, which cannot know the visited ones, those gradients are zero, as in
    ``Switch``.

    Args:
        ranges: the condition on a number: ``Ranges``, ``LearntRanges``.
        features: F, the length of the vectors.
        init: "independent" or "identical" initial maps.
        normalise: whether a number is first mapped so that its range becomes [-1, 1]; then b is the vector at the
            range's centre, and w the way from there to its end. Needs finite points. Without it, maps of a narrow
            range far from zero learn slowly, since w and b say almost the same.

    Shape:
        x: any shape (...), floating point or integer. Returns (..., F) in the parameters' dtype. A ``key`` of x's shape
        takes the range from another number than x.

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
        normalise: bool = False,
    ) -> None:
        if features < 1:
            raise ValueError(f"RangeEmbedding: features must be at least one, got {features}")
        if ranges.keys:
            raise ValueError(
                f"RangeEmbedding: ranges must be of one number, got {type(ranges).__name__} of {ranges.keys} keys; "
                "embed each number by itself"
            )
        super().__init__(ranges, nn.Linear(1, features), init=init, normalise=bool(normalise))
        self.features = features

    def forward(self, x: Tensor, key: Tensor | None = None) -> Tensor:
        key = x if key is None else key
        if key.shape != x.shape:
            raise ValueError(
                f"RangeEmbedding: key must have x's shape, got key {tuple(key.shape)} and x {tuple(x.shape)}"
            )
        if next(self.ranges.parameters(), None) is not None or not (in_graph() or x.numel()):
            return self._as_switch(x, key)  # which lends learnt points a gradient, and knows the empty batch
        index = self.ranges.index(key).reshape(-1)
        counts = count(index, len(self.branches))
        self.ranges.add_visits(counts, key)
        numbers = x.reshape(-1) if self.normalise is None else self.normalise(_floating(x.reshape(-1)), index)
        weight, bias, row = self._maps(index, counts)
        y = torch.addcmul(bias.index_select(0, row), weight.index_select(0, row), numbers.to(weight.dtype).unsqueeze(1))
        return y.reshape(*x.shape, self.features)

    def _maps(self, index: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Stack the maps of the visited ranges, of all in a graph, and say which each number takes."""
        visited = range(len(self.branches)) if in_graph() else counts.nonzero()[:, 0].tolist()
        # Stacked anew in every call: one parameter for all ranges would give those not visited a gradient of zero, and
        # momentum and weight decay would move them.
        maps = [cast(nn.Linear, self.branches[i]) for i in visited]
        weight = torch.stack([each.weight for each in maps]).squeeze(-1)
        bias = torch.stack([each.bias for each in maps])
        row = index if len(visited) == len(self.branches) else ((counts > 0).cumsum(0) - 1).index_select(0, index)
        return weight, bias, row

    def _as_switch(self, x: Tensor, key: Tensor) -> Tensor:
        rows = torch.atleast_1d(x).unsqueeze(-1).to(cast(nn.Linear, self.branches[0]).weight.dtype)
        return super().forward(rows, torch.atleast_1d(key)).reshape(*x.shape, self.features)


def _floating(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.double()
