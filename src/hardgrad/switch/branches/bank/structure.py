"""Which branches a bank can run, and whether they still are what they were when it was built."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat
from operator import attrgetter, contains, itemgetter
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from hardgrad.switch.branches.bank.elementwise import ELEMENTWISE, RULES, Elementwise, Rule
from hardgrad.switch.branches.bank.layouts import Layout
from hardgrad.switch.branches.bank.products import Products, products

_HOOKS = itemgetter("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
Layer = Products | Elementwise
_PLAIN = {Tensor, nn.Parameter}
_SHAPE, _WEIGHT, _BIAS = attrgetter("shape"), itemgetter("weight"), itemgetter("bias")


class Structure:
    """The layers of every branch, in order, and all that would make a branch compute anything else.

    What it keeps are modules and the dictionaries of their attributes, so that each question is a loop inside Python's
    own C functions: 500 branches of six modules are asked at every call.
    """

    def __init__(self, branches: list[nn.Module]) -> None:
        self.branches = branches
        stacks = [_layers(branch) for branch in branches]
        _check(stacks)
        self._kinds = [type(layer) for layer in stacks[0]]
        self._held = [list(map(vars, layers)) for layers in zip(*stacks, strict=True)]
        modules = [list(branch.modules()) for branch in branches]
        self._modules = [(tuple(parts), tuple(map(type, parts))) for parts in modules]
        self._attributes = [list(map(vars, parts)) for parts in modules]
        self._children = [[(m._modules, list(m._modules.values())) for m in parts if m._modules] for parts in modules]

    def holds(self, visited: list[int]) -> bool:
        """Whether calling the branches would do nothing but run their layers: no hook, no other forward or layer."""
        attributes = list(chain.from_iterable(map(self._attributes.__getitem__, visited)))
        return not (
            _has_any_global_hook()
            or any(chain.from_iterable(map(_HOOKS, attributes)))
            or True in map(contains, attributes, repeat("forward"))
            or any(tuple(map(type, modules)) != kinds for modules, kinds in map(self._modules.__getitem__, visited))
            or any(list(parts.values()) != known for i in visited for parts, known in self._children[i])
        )

    def layers(self, layout: Layout) -> list[Layer] | None:
        """Return each layer with what the visited branches hold for it; None if they differ in more than numbers."""
        stack: list[Layer] = []
        pick = itemgetter(*layout.order)
        for at, kind in enumerate(self._kinds):
            held = pick(self._held[at])
            over = at == 0 or self._kinds[at - 1] is nn.Linear
            layer = _linear(held, layout) if kind is nn.Linear else _elementwise(held, RULES[kind], over)
            if layer is None:
                return None
            stack.append(layer)
        return stack


def _linear(held: Sequence[dict[str, Any]], layout: Layout) -> Products | None:
    parameters = list(map(itemgetter("_parameters"), held))
    try:
        weights, biases = list(map(_WEIGHT, parameters)), list(map(_BIAS, parameters))
    except KeyError:  # parametrized, pruned or flattened: it is made up at every call
        return None
    if set(map(type, biases)) == {type(None)}:
        biases = []
    if not (_PLAIN.issuperset(map(type, weights)) and _PLAIN.issuperset(map(type, biases))):
        return None
    shapes = {*map(_SHAPE, weights)}
    if len(shapes) > 1 or (biases and {*map(_SHAPE, biases)} != {weights[0].shape[:1]}):
        return None
    return products(layout, weights, biases)


def _elementwise(held: Sequence[dict[str, Any]], rule: Rule, over: bool) -> Elementwise | None:
    settings = set(map(itemgetter(*rule.settings, "training"), held)) if rule.settings else {(None,)}
    return Elementwise(rule, settings.pop()[:-1], over) if len(settings) == 1 else None


def _layers(branch: nn.Module) -> list[nn.Module]:
    return [layer for part in branch for layer in _layers(part)] if type(branch) is nn.Sequential else [branch]


def _check(stacks: list[list[nn.Module]]) -> None:
    for i, stack in enumerate(stacks):
        for layer in stack:
            if type(layer) is not nn.Linear and type(layer) not in ELEMENTWISE:
                raise ValueError(
                    f"Switch: bank=True needs branches made of Linear and elementwise layers, got {layer} in branch "
                    f"{i}; use bank=False"
                )
        equal = list(map(str, stack)) == list(map(str, stacks[0]))
        if not equal or not any(isinstance(layer, nn.Linear) for layer in stack):
            raise ValueError(
                f"Switch: bank=True needs equal branches with a Linear layer, got {stacks[0]} for branch 0 and {stack} "
                f"for branch {i}; use bank=False"
            )
    if len({id(layer) for stack in stacks for layer in stack}) < sum(map(len, stacks)):
        raise ValueError("Switch: bank=True needs a module of its own for each branch, got one twice; use bank=False")
