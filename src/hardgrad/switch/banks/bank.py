"""Many parameter sets in few kernels: the linear layers of all branches stacked, and run together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from hardgrad._torch_state import graph_task, in_transform
from hardgrad.switch.banks.layouts import Chunks, choose

# One element in, one element out, no weights: running one of them on the rows of all branches at once changes nothing.
ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Tanh,
    nn.Sigmoid, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softsign, nn.LogSigmoid, nn.Tanhshrink, nn.Identity,
)  # fmt: skip

# Where a parameter is registered, its name there, the parameter itself, and the address it was stacked at.
Place = tuple[dict[str, Any], str, nn.Parameter, int]


class Bank:
    """The stacked weights of branches that are equal stacks of linear and elementwise layers.

    The branches stay ordinary modules. Their parameters are made views of the stacked memory, as an ``nn.RNN``'s are of
    its flat weights, and each backward hands the rows of the stacked gradient to them as their ``grad``. An optimiser
    sees the branches' own parameters and nothing else, and an unvisited one has no gradient.

    Why not let autograd reach each parameter by itself: it took 5 us for each in a probe, so 1.8 ms for 60 branches of
    6 parameters that got a row apiece, where one plain network took 0.2 ms on the same rows.
    """

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        stacks = [_layers(branch) for branch in branches]
        _check(stacks)
        linear = [False, *(isinstance(layer, nn.Linear) for layer in stacks[0]), False]
        self.layers = [
            Stack(same) if linear[i] else Elementwise(same[0], linear[i - 1] and linear[i + 1])
            for i, same in enumerate(zip(*stacks, strict=True), start=1)
        ]
        self.linear = [layer for layer in self.layers if isinstance(layer, Stack)]
        self.branches = list(branches)
        parts = [[part._modules for part in branch.modules() if part._modules] for branch in branches]
        self._children = [[(children, list(children.values())) for children in each] for each in parts]
        modules = [[branch, *stack] for branch, stack in zip(branches, stacks, strict=True)]
        kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        self._hooks = [[getattr(module, kind) for module in each for kind in kinds] for each in modules]
        self.piles: list[Pile] = []
        self._adopt()

    def run(self, rows: Tensor, index: Tensor, sizes: list[int], visited: list[int]) -> Tensor | None:
        """Return the rows' outputs, or None where only the branches themselves give what their user asked for."""
        if not (self._serves(rows, visited) and self._intact(visited)):
            return None
        if self.piles and graph_task() == -1:
            self.piles.clear()  # of backwards that asked for other gradients than the weights'
        trains = any(leaf.requires_grad for i in visited for _, _, leaf, _ in self._places[i])
        layout = choose(index, sizes, visited)
        return cast(Tensor, _Run.apply(rows, self._ticket if trains else None, self, layout))

    def _serves(self, rows: Tensor, visited: list[int]) -> bool:
        # A transform, autocast, a hook, or DDP, which waits for every parameter's own gradient: each of them sees what
        # the bank leaves out. A layer that was replaced is not the one that was stacked.
        return not (
            rows.ndim != 2
            or in_transform()
            or torch.is_autocast_enabled(rows.device.type)
            or (torch.distributed.is_available() and torch.distributed.is_initialized())
            or any(map(any, map(self._hooks.__getitem__, visited)))
            or any(list(parts.values()) != known for i in visited for parts, known in self._children[i])
        )

    def _intact(self, visited: list[int]) -> bool:
        """Whether the parameters are the branches' own; ones that were moved, by ``.to()`` say, are stacked anew."""
        places = self._places
        for i in visited:
            for where, name, leaf, address in places[i]:
                if where[name] is not leaf or leaf._backward_hooks or leaf._post_accumulate_grad_hooks:
                    return False  # such as a parameter that functional_call put in the place of a branch's own
                if leaf.data_ptr() != address:
                    return self._adopt() and self._intact(visited)
        return True

    def _adopt(self) -> bool:
        """Copy the branches' parameters into the stacked memory and make them views of it, if they can be."""
        # All or none: a graph that is still to be run back must not lose parameters to a stacking that leads nowhere.
        looks = [stack.look() for stack in self.linear]
        stackable = all(looks)
        for stack in self.linear:
            stack.adopt(stackable)
        self._places = [[place for stack in self.linear for place in stack.places(i)] for i in range(len(self._hooks))]
        # What autograd takes for all the weights: it has no meaning of its own, but where it goes, the piles go.
        self._ticket = self.linear[0].weights[0].detach().new_zeros(()).requires_grad_()
        self._ticket.register_post_accumulate_grad_hook(self._hand_on)
        return stackable

    def _hand_on(self, ticket: Tensor) -> None:
        ticket.grad = None
        task = graph_task()
        mine = [pile for pile in self.piles if pile.task == task]
        self.piles = [pile for pile in self.piles if pile.task != task]
        for pile in mine:
            for stack, weights, biases in pile.gradients:
                _give(stack.weights, pile.ranges, weights)
                if biases is not None:
                    _give(stack.biases, pile.ranges, biases)

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        return None  # the copy's branches have memory of their own; its bank is built when it first runs

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()


class Stack:
    """One linear layer of every branch, stacked: ``weight`` (N, out, in) and ``bias`` (N, out)."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = modules

    def look(self) -> bool:
        """Find the branches' parameters; say whether they can share one memory."""
        self.weights: list[nn.Parameter] = [module.get_parameter("weight") for module in self.modules]
        biased = self.modules[0]._parameters["bias"] is not None
        self.biases: list[nn.Parameter] = [module.get_parameter("bias") for module in self.modules] if biased else []
        leaves = self.weights + self.biases
        # A branch that was moved alone, or a parameter that two branches share, has no place in the stacked memory.
        return len({(leaf.dtype, leaf.device) for leaf in leaves}) == 1 and len(set(leaves)) == len(leaves)

    def adopt(self, stackable: bool) -> None:
        self.stacked = stackable
        if stackable:
            self.weight = _stack(self.weights)
            self.bias = _stack(self.biases) if self.biases else None

    def places(self, i: int) -> list[Place]:
        where = self.modules[i]._parameters
        named = [("weight", self.weights[i]), *([("bias", self.biases[i])] if self.biases else [])]
        return [(where, name, leaf, leaf.data_ptr() if self.stacked else -1) for name, leaf in named]


@dataclass
class Pile:
    """The gradients that one backward found, on their way to the branches."""

    task: int
    ranges: list[int]
    gradients: list[tuple[Stack, Tensor, Tensor | None]]


class _Run(torch.autograd.Function):
    """All layers of all branches. One node: each node of autograd's costs as much as a layer of a small batch."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, ticket: Tensor | None, bank: Bank, layout: Chunks) -> Tensor:
        x = layout.enter(rows)
        saved = []
        weights = []
        for layer in bank.layers:
            saved.append(x)
            if isinstance(layer, Stack):
                weights.append(layout.pick(layer.weight))
                x = layout.linear(x, weights[-1], None if layer.bias is None else layout.pick(layer.bias))
            else:
                x = layer(x)
        ctx.bank, ctx.layout = bank, layout
        ctx.save_for_backward(*saved, x, *weights, *(stack.weight for stack in bank.linear))
        return layout.leave(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():
            raise RuntimeError(
                "Switch: a bank has first derivatives only, and this backward was asked for a graph of its own "
                "(create_graph=True); build the switch with bank=False for second derivatives"
            )
        bank: Bank = ctx.bank
        layout: Chunks = ctx.layout
        to_rows, to_ticket, *_ = ctx.needs_input_grad
        saved = ctx.saved_tensors
        weights = list(saved[len(bank.layers) + 1 :][: len(bank.linear)])
        pile = Pile(graph_task(), layout.ranges, [])
        grad = layout.enter(grad.contiguous())
        for i, layer in reversed(list(enumerate(bank.layers))):
            if not isinstance(layer, Stack):
                grad = layer.to_input(saved[i], saved[i + 1], grad)
                continue
            if to_ticket:
                pile.gradients.append((layer, *layout.to_parameters(grad, saved[i], layer.bias is not None)))
            weight = weights.pop()
            if layer is bank.linear[0] and not to_rows:
                break
            grad = layout.to_input(grad, weight)
        if to_ticket:
            bank.piles.append(pile)
        return layout.leave(grad) if to_rows else None, grad.new_zeros(()) if to_ticket else None, None, None


# Layers whose output tells their gradient run in place, forward and back: a fresh buffer costs more than they do.
_IN_PLACE: dict[type[nn.Module], tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    nn.ReLU: (torch.relu_, lambda grad, y: torch.ops.aten.threshold_backward(grad, y, 0, grad_input=grad)),
    nn.Tanh: (torch.tanh_, lambda grad, y: torch.ops.aten.tanh_backward(grad, y, grad_input=grad)),
    nn.Sigmoid: (torch.sigmoid_, lambda grad, y: torch.ops.aten.sigmoid_backward(grad, y, grad_input=grad)),
}


class Elementwise:
    """A layer without weights, run on the rows of all branches at once."""

    def __init__(self, layer: nn.Module, between_linear: bool) -> None:
        self.layer = layer
        # Between two linear layers both the input and the gradient are buffers of the bank's own.
        self._in_place = _IN_PLACE.get(type(layer)) if between_linear else None

    def __call__(self, x: Tensor) -> Tensor:
        return self.layer(x) if self._in_place is None else self._in_place[0](x)

    def to_input(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor:
        if self._in_place is not None:
            return self._in_place[1](grad, y)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.layer(x), x, grad)[0]


def _give(leaves: list[nn.Parameter], ranges: list[int], rows: Tensor) -> None:
    nobody = len(leaves)
    for i, row in zip(ranges, rows.unbind(0), strict=True):
        if i != nobody:
            leaf = leaves[i]
            if leaf.grad is not None:
                leaf.grad += row
            elif leaf.requires_grad:
                leaf.grad = row


def _stack(leaves: list[nn.Parameter]) -> Tensor:
    """Copy the parameters into one memory, each a view of its part and still the object that an optimiser holds."""
    stacked = torch.stack([leaf.detach() for leaf in leaves])
    for leaf, row in zip(leaves, stacked.unbind(0), strict=True):
        view = nn.Parameter(row.detach(), requires_grad=leaf.requires_grad)
        for name, value in vars(leaf).items():
            setattr(view, name, value)
        grad = leaf.grad
        try:
            # A swap and not `leaf.data = row`, because it shares the version counter: a step taken between a forward
            # and its backward changes what the backward reads, and torch can say so.
            torch.utils.swap_tensors(leaf, view)
        except RuntimeError:  # something holds a weak reference, such as a compiled graph
            leaf.data = row
        leaf.grad = grad
    return stacked


def _layers(branch: nn.Module) -> list[nn.Module]:
    return [each for part in branch for each in _layers(part)] if type(branch) is nn.Sequential else [branch]


def _check(stacks: list[list[nn.Module]]) -> None:
    for i, stack in enumerate(stacks):
        for layer in stack:
            if type(layer) is not nn.Linear and type(layer) not in ELEMENTWISE:
                raise ValueError(
                    f"Switch: bank=True needs branches made of Linear and elementwise layers, got {layer} in branch "
                    f"{i}; use bank=False"
                )
        if list(map(str, stack)) != list(map(str, stacks[0])) or not any(isinstance(each, nn.Linear) for each in stack):
            raise ValueError(
                f"Switch: bank=True needs equal branches with a Linear layer, got {stacks[0]} for branch 0 and {stack} "
                f"for branch {i}; use bank=False"
            )
    if len({id(layer) for stack in stacks for layer in stack}) < sum(map(len, stacks)):
        raise ValueError("Switch: bank=True needs a module of its own for each branch, got one twice; use bank=False")
