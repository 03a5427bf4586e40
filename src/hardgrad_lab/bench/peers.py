"""Other ways to run each row through parameters of its own, as a PyTorch user would write them today."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Run = Callable[[Tensor, Tensor], Tensor]  # rows and their range numbers in, outputs out


def where(branches: Sequence[nn.Module]) -> tuple[list[Tensor], Run]:
    """Every branch on every row, and ``torch.where`` to choose."""

    def run(x: Tensor, index: Tensor) -> Tensor:
        y: Tensor = branches[0](x)
        for i, branch in enumerate(branches[1:], start=1):
            y = torch.where((index == i).unsqueeze(1), branch(x), y)
        return y

    return [p for branch in branches for p in branch.parameters()], run


def vmap(branches: Sequence[nn.Module]) -> tuple[list[Tensor], Run]:
    """``torch.vmap`` over stacked parameters, every branch on every row, and a gather to choose."""
    stacked, buffers = torch.func.stack_module_state(list(branches))
    meta = copy.deepcopy(branches[0]).to("meta")

    def call(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(meta, (parameters, buffers), (x,))
        return y

    def run(x: Tensor, index: Tensor) -> Tensor:
        every = torch.vmap(call, in_dims=(0, 0, None))(stacked, buffers, x)
        return every[index, torch.arange(len(x), device=x.device)]

    return list(stacked.values()), run


def cond(branches: Sequence[nn.Module]) -> tuple[list[Tensor], Run]:
    """``torch.cond``, which takes one row: a chain of them, one less than there are branches."""

    def chosen(x: Tensor, index: Tensor, i: int) -> Tensor:
        last = i == len(branches) - 1
        others: Callable[[Tensor], Tensor] = branches[i] if last else lambda x: chosen(x, index, i + 1)
        y: Tensor = others(x) if last else torch.cond((index == i).all(), branches[i], others, (x,))
        return y

    return [p for branch in branches for p in branch.parameters()], lambda x, index: chosen(x, index, 0)


def gather(branches: Sequence[nn.Module]) -> tuple[list[Tensor], Run]:
    """Stacked weights, selected for each row: as many copies of a branch's weights as it has rows."""
    weights, biases = _stacked(branches)

    def run(x: Tensor, index: Tensor) -> Tensor:
        x = x.unsqueeze(1)
        for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            x = torch.baddbmm(bias[index].unsqueeze(1), x, weight[index])
            x = x.relu() if i < len(weights) - 1 else x
        return x.squeeze(1)

    return [*weights, *biases], run


def padded(branches: Sequence[nn.Module]) -> tuple[list[Tensor], Run]:
    """Stacked weights, and the rows of each branch padded to those of the fullest: one batched product a layer."""
    weights, biases = _stacked(branches)
    count = len(branches)

    def run(x: Tensor, index: Tensor) -> Tensor:
        rows, most, slot = _slots(index, count)
        h = x.new_zeros(count * most, x.shape[1]).index_copy(0, slot, x[rows]).view(count, most, -1)
        for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            h = torch.baddbmm(bias.unsqueeze(1), h, weight)
            h = h.relu() if i < len(weights) - 1 else h
        return h.new_empty(len(x), h.shape[2]).index_copy(0, rows, h.flatten(0, 1)[slot])

    return [*weights, *biases], run


def sparse_rows(branches: Sequence[nn.Module]) -> tuple[list[Tensor], Run]:
    """Embeddings with sparse gradients as weights: only the visited branches' rows are read and written."""
    weights, biases = _stacked(branches)
    tables = [nn.Parameter(weight.detach().flatten(1)) for weight in weights]

    def run(x: Tensor, index: Tensor) -> Tensor:
        visited, local = index.unique(return_inverse=True)
        rows, most, slot = _slots(local, len(visited))
        h = x.new_zeros(len(visited) * most, x.shape[1]).index_copy(0, slot, x[rows]).view(len(visited), most, -1)
        for i, (table, bias) in enumerate(zip(tables, biases, strict=True)):
            weight = F.embedding(visited, table, sparse=True).view(len(visited), h.shape[2], -1)
            h = torch.baddbmm(F.embedding(visited, bias, sparse=True).unsqueeze(1), h, weight)
            h = h.relu() if i < len(tables) - 1 else h
        return h.new_empty(len(x), h.shape[2]).index_copy(0, rows, h.flatten(0, 1)[slot])

    return [*tables, *biases], run


def _stacked(branches: Sequence[nn.Module]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    linear = [[layer for layer in branch.modules() if isinstance(layer, nn.Linear)] for branch in branches]
    weights = [torch.stack([layer.weight.detach().mT for layer in same]) for same in zip(*linear, strict=True)]
    biases = [torch.stack([layer.bias.detach() for layer in same]) for same in zip(*linear, strict=True)]
    return [nn.Parameter(each.contiguous()) for each in weights], [nn.Parameter(each) for each in biases]


def _slots(index: Tensor, count: int) -> tuple[Tensor, int, Tensor]:
    """The rows sorted by branch, the most rows of one branch, and the padded slot of each sorted row."""
    rows = index.argsort(stable=True)
    sizes = index.bincount(minlength=count)
    most = int(sizes.max())
    owner = index[rows]
    place = torch.arange(len(index), device=index.device) - (sizes.cumsum(0) - sizes)[owner]
    return rows, most, owner * most + place
