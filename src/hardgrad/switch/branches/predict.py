"""What branches would make of rows that need not be their own, without anything in them moving."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from hardgrad._torch_state import hides_values, in_compiled_transform, in_graph
from hardgrad.switch.branches.everywhere import run_everywhere
from hardgrad.switch.branches.outputs import one_dtype, one_shape, one_tensor
from hardgrad.switch.branches.state import evaluating


def predict(branches: nn.ModuleList, x: Tensor, index: Tensor) -> Tensor:
    """Return what branches ``index``, (M,), make of x, (M, ...), in evaluation mode and without a gradient."""
    if hides_values(index) or in_compiled_transform():
        return _everywhere(branches, x, index)
    which = range(len(branches)) if in_graph() else index.unique().tolist() or [0]
    places = [(index == i).nonzero()[:, 0] for i in which]
    outputs = []
    with torch.no_grad():
        for i, mine in zip(which, places, strict=True):
            with evaluating(branches[i]):
                outputs.append(one_tensor(i, branches[i](x[mine]), mine.shape[0]))
        one_shape(which, outputs)
        y = outputs[0].new_zeros(x.shape[0], *outputs[0].shape[1:], dtype=one_dtype(outputs))
        for mine, output in zip(places, outputs, strict=True):
            y = y.index_put((mine,), output.to(y.dtype))
    return y


def _everywhere(branches: nn.ModuleList, x: Tensor, index: Tensor) -> Tensor:
    with torch.no_grad(), ExitStack() as stack:
        for branch in branches:
            stack.enter_context(evaluating(branch))
        return run_everywhere(branches, x, index)
