"""What a step computed: a mode that writes down each call on tensors, where it stands and what it was given."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hardgrad.doctor.flow.calls import PYTHON, SHAPED, kind_of, name_of, only_asks, writes
from hardgrad.doctor.flow.followed import FOLLOWED, followed
from hardgrad.doctor.flow.passing import Passing, leaf_of
from hardgrad.doctor.flow.places import Place, now_at, place_of
from hardgrad.doctor.flow.values import Call, Value, is_leaf, tensors_in, tensors_of, unwrapped

_MAKERS: tuple[Any, ...] = (nn.Parameter, torch.autograd.Variable)  # of tensors, of which no mode is told
_BACKWARDS = (Tensor.backward, torch.autograd.backward, torch.autograd.grad)


class Tape(TorchFunctionMode):
    """Everything that is needed to follow the gradient of what runs while this mode is on."""

    def __init__(self, model: Any, inputs: Iterable[Tensor] = (), copies: bool = False) -> None:
        super().__init__()
        self.values: list[Value] = []
        self.roots: list[Tensor] = []  # by their bit
        self.left: list[Value] = []  # what went to Python
        self.passes: list[tuple[list[Value], Passing]] = []
        self.copies = copies  # whether the model is ours, so that what torch would refuse to differentiate is cut off
        own = tensors_of(model)
        self.owned = {id(tensor) for tensor in own}
        self._known: dict[int, tuple[weakref.ref[Tensor], Value]] = {}
        self._nodes: dict[Any, Value] = {}
        self._off: list[Place | None] = [None]
        self._replaced: tuple[Any, ...] = ()
        for tensor in (*own, *inputs):
            self.value_of(tensor)

    def __enter__(self) -> Any:
        """Begin, and see custom Functions and new Parameters as well, which no mode is told of."""
        apply = torch.autograd.Function.__dict__["apply"]
        self._replaced = (torch.autograd.Function, "apply", apply), *((c, "__new__", c.__new__) for c in _MAKERS)
        for owner, name, original in self._replaced:
            seen = self._seen(getattr(original, "__func__", original), "copy" if owner in _MAKERS else "custom")
            setattr(owner, name, seen if owner in _MAKERS else classmethod(seen))
        return super().__enter__()  # type: ignore[no-untyped-call]  # torch's has no types

    def __exit__(self, *error: Any) -> None:
        """End."""
        for owner, name, original in self._replaced:
            setattr(owner, name, original)
        super().__exit__(*error)  # type: ignore[no-untyped-call]  # torch's has no types

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a call, and write it down."""
        named, name = kwargs or {}, name_of(func)
        if name == "_set_grad_enabled":
            self._off.append(None if args[0] else place_of())
        if func in _BACKWARDS and args and not named.get("create_graph"):  # "grad" is what p.grad is called, too
            return self._backward(func, args, named)
        if name == "_set_grad_enabled" or only_asks(name):
            return func(*args, **named)
        inputs = self._values_in((args, named))
        result = func(*args, **named)
        if self.copies and isinstance(result, Tensor) and "NotImplemented" in getattr(result.grad_fn, "name", str)():
            result = result.detach()
        if name in PYTHON:
            return self._leave(name, inputs, result)
        if inputs:
            self._note(name, writes(func), () if name in SHAPED else inputs, args, named, result)
        return result

    def _seen(self, run: Callable[..., Any], kind: str) -> Callable[..., Any]:
        """Run what is no function of torch's, and write it down as one call."""

        def call(cls: Any, *args: Any, **named: Any) -> Any:
            inputs = self._values_in((args, named)) if torch._C._is_torch_function_mode_enabled() else ()
            made = Call(cls.__name__, kind, place_of(), self._where_off()) if inputs else None
            result = run(cls, *args, **named)
            for tensor in tensors_in(result) if made is not None else ():
                self._know(tensor, Value(made, inputs, tensor))
            return result

        return call

    def value_of(self, tensor: Tensor) -> Value:
        """Return what is known of a tensor as it is now."""
        tensor = unwrapped(tensor)
        reference, value = self._known.get(id(tensor), (None, None))
        if value is None or reference is None or reference() is not tensor:
            return self._root(tensor, ())
        if tensor.grad_fn is value.node and is_leaf(tensor) == value.leaf:
            return value
        if is_leaf(tensor):  # it was made one: x.detach().requires_grad_()
            return self._root(tensor, (value,))
        return self._know(tensor, Value(value.call, (*value.inputs, value), tensor))

    def _root(self, tensor: Tensor, inputs: tuple[Value, ...]) -> Value:
        if tensor.grad_fn is not None:
            inputs = self._behind(tensor.grad_fn)
        value = Value(None, inputs, tensor, len(self.roots))
        value.leaf = is_leaf(tensor)
        self.roots.append(tensor)  # kept, so that no other tensor gets its id
        return self._know(tensor, value)

    def _behind(self, node: Any) -> tuple[Value, ...]:
        """What is known of the graph behind a node that no call on this tape made."""
        found, waiting, seen = [], [node], {node}
        while waiting:
            node = waiting.pop()
            leaf = leaf_of(node)
            if leaf is not None or node in self._nodes:
                found.append(self._nodes[node] if leaf is None else self.value_of(leaf))
                continue
            fresh = {after for after, _ in node.next_functions if after is not None} - seen
            seen |= fresh
            waiting += fresh
        return tuple(found)

    def _know(self, tensor: Tensor, value: Value) -> Value:
        self.values.append(value)
        if value.node is not None:
            self._nodes.setdefault(value.node, value)
        self._known[id(tensor)] = weakref.ref(tensor), value
        return value

    def _values_in(self, given: Any) -> tuple[Value, ...]:
        found: list[Value] = []
        waiting = [given]
        while waiting:
            item = waiting.pop()
            if isinstance(item, Tensor):
                found += () if nn.parameter.is_lazy(item) else (self.value_of(item),)
            elif isinstance(item, tuple | list):
                waiting += reversed(item)
            elif isinstance(item, dict):
                waiting += item.values()
            elif isinstance(item, FOLLOWED):
                found += item.values
        return tuple(found)

    def _where_off(self) -> Place | None:
        if torch.is_grad_enabled():
            return None
        return place_of(3) if self._off[-1] is None else now_at(self._off[-1])

    def _leave(self, name: str, inputs: tuple[Value, ...], result: Any) -> Any:
        value = Value(Call(name, "python", place_of(3), self._where_off()), inputs, None)
        self.values.append(value)
        assert value.call is not None
        if value.call.place.inside in ("torch", "hardgrad"):
            return result
        self.left.append(value)
        return followed(result, (value,)) if name in ("item", "tolist") else result

    def _note(self, name: str, in_place: bool, inputs: tuple[Value, ...], args: Any, named: Any, result: Any) -> None:
        call = Call(name, kind_of(name, args, named), place_of(3), self._where_off())
        if in_place:
            target = args[0] if args else None
            if not isinstance(target, Tensor) or nn.parameter.is_lazy(target):
                return
            if is_leaf(target):
                if name == "=data":  # else an optimizer's step, or an initialization
                    value = self._know(target, Value(call, inputs, target, self.value_of(target).bit))
                    value.leaf = True
                return
            self._know(target, Value(call, inputs, target))
            if target._base is not None:
                self._know(target._base, Value(call, (self.value_of(target._base), *inputs), target._base))
            return
        made = [tensor for tensor in tensors_in(result) if not any(tensor is x for x in args)]  # x.float() may be x
        each = name in ("broadcast_tensors", "meshgrid") and len(made) == len(inputs)
        for i, tensor in enumerate(made):
            whole = not (call.kind or tensor.is_floating_point() or tensor.is_complex())
            own = Call(name, "whole", call.place, call.off) if whole else call
            self._know(tensor, Value(own, inputs[i : i + 1] if each else inputs, tensor))

    def _backward(self, func: Any, args: Any, named: Any) -> Any:
        values = list(self._values_in([args[0]]))
        passing = Passing([value.node for value in values], [root for root in self.roots if is_leaf(root)])
        self.passes.append((values, passing))
        with passing:
            return func(*args, **named)

    def close(self) -> None:
        """Let go of what the step held; numbers that it followed may live on."""
        for value in self.values:
            value.node = value.terms = None
            value.inputs = ()
        self._known.clear()
        self._nodes.clear()
