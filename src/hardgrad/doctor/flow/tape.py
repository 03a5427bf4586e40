"""What a step computed: a mode that writes down each call on tensors, where it stands and what it was given."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hardgrad.doctor.flow.calls import COPY, PROGRAM, PYTHON, SHAPED, asks_only, is_in_place, kind_of, name_of
from hardgrad.doctor.flow.followed import FOLLOWED, followed
from hardgrad.doctor.flow.passing import Passing
from hardgrad.doctor.flow.places import Place, frames_above, line_in, place_of


class Call:
    """One call of a function of torch, or of a custom ``autograd.Function``."""

    __slots__ = ("kind", "name", "off", "place")

    def __init__(self, name: str, kind: str, place: Place, off: Place | None) -> None:
        self.name, self.kind, self.place = name, kind, place
        self.off = off  # where gradients were switched off, if they were


class Value:
    """What one tensor held at one time; ``bit`` numbers those that nothing on the tape made."""

    __slots__ = ("bit", "call", "floating", "inputs", "leaf", "node", "shape", "terms")

    def __init__(self, call: Call | None, inputs: tuple[Value, ...], tensor: Tensor | None, bit: int = -1) -> None:
        self.call, self.inputs, self.bit, self.leaf = call, inputs, bit, False
        self.node, self.floating, self.shape = None, False, ()
        self.terms: Any = None
        if tensor is not None:
            self.node, self.floating = tensor.grad_fn, tensor.is_floating_point() or tensor.is_complex()
            self.shape: tuple[int, ...] = tuple(tensor.shape)


class Tape(TorchFunctionMode):
    """Everything that is needed to follow the gradient of what runs while this mode is on."""

    def __init__(self, copies: bool = False) -> None:
        super().__init__()
        self.copies = copies  # of the user's model: what torch would refuse to differentiate may be cut off
        self.values: list[Value] = []
        self.roots: list[Tensor | None] = []  # by their bit; those that need a gradient are kept
        self.left: list[Value] = []  # what went to Python, in order
        self.frames: dict[int, list[Value]] = {}  # the same, of whole values, by the call of the user that did it
        self.passes: list[tuple[list[Value], Passing]] = []
        self._known: dict[int, tuple[weakref.ref[Tensor], Value]] = {}
        self._off: list[Place | None] = [None if torch.is_grad_enabled() else place_of()]
        self._replaced: tuple[Any, ...] = ()
        self.owned: set[int] = set()  # parameters and buffers of the model

    def own(self, model: Any, inputs: Iterable[Tensor] = ()) -> None:
        """Know the model's own tensors, and its inputs, before anything runs."""
        if isinstance(model, nn.Module):
            tensors = [*model.parameters(), *model.buffers()]
            self.owned = {id(tensor) for tensor in tensors}
            inputs = [*tensors, *inputs]
        with torch._C.DisableTorchFunction():
            for tensor in inputs:
                self.value_of(tensor)

    def differentiate(self, value: Tensor) -> None:
        """Take a value for what a backward was called on, though torch would refuse."""
        with torch._C.DisableTorchFunction():
            self.passes.append(([self.value_of(value)], Passing([], [])))

    def __enter__(self) -> Any:
        """Begin, and see custom Functions and new Parameters as well, which no mode is told of."""
        self._replaced = (torch.autograd.Function.__dict__["apply"], nn.Parameter.__new__)
        (_, make), run, tape = self._replaced, self._replaced[0].__func__, self

        def apply(cls: Any, *arguments: Any, **named: Any) -> Any:
            return tape.custom(cls.__name__, "custom", lambda: run(cls, *arguments, **named), (arguments, named))

        def new(cls: Any, *arguments: Any, **named: Any) -> Any:
            return tape.custom("Parameter", "copy", lambda: make(cls, *arguments, **named), (arguments, named))

        setattr(torch.autograd.Function, "apply", classmethod(apply))
        setattr(nn.Parameter, "__new__", new)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        """End."""
        setattr(torch.autograd.Function, "apply", self._replaced[0])
        setattr(nn.Parameter, "__new__", self._replaced[1])
        super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a call, and write it down."""
        named = kwargs or {}
        name = name_of(func)
        if asks_only(name) and not name == "grad":
            return func(*args, **named)
        if name in ("backward", "grad"):
            return self._backward(func, name, args, named)
        if name == "_set_grad_enabled":
            self._off.append(None if args[0] else place_of())
            return func(*args, **named)
        inputs = self._values_in((args, named))
        result = func(*args, **named)
        if self.copies and isinstance(result, Tensor) and result.grad_fn is not None:
            result = result.detach() if result.grad_fn.name().endswith("NotImplemented") else result
        if name in PYTHON:
            return self._leave(name, inputs, result)
        if name in SHAPED:
            inputs = ()
        elif name in COPY:
            inputs += self._from_elsewhere(result)
        if inputs or name in SHAPED:
            self._note(func, name, inputs, args, named, result)
        return result

    def custom(self, name: str, kind: str, run: Callable[[], Any], given: Any) -> Any:
        """Run what is no function of torch's, and write it down as one call."""
        inputs = self._values_in(given) if torch._C._is_torch_function_mode_enabled() else ()
        if not inputs:
            return run()
        place, off = place_of(3), self._where_off()
        result = run()
        call = Call(name, kind, place, off)
        for tensor in _tensors(result):
            self._know(tensor, Value(call, inputs, tensor))
        return result

    def value_of(self, tensor: Tensor) -> Value:
        """Return what is known of a tensor as it is now."""
        entry = self._known.get(id(tensor))
        if entry is None or entry[0]() is not tensor:
            return self._root(tensor)
        value = entry[1]
        if tensor.grad_fn is value.node and _is_leaf(tensor) == value.leaf:
            return value
        if _is_leaf(tensor):  # it was made one: x.detach().requires_grad_()
            return self._root(tensor, (value,))
        return self._know(tensor, Value(value.call, (*value.inputs, value), tensor))

    def _root(self, tensor: Tensor, inputs: tuple[Value, ...] = ()) -> Value:
        leaf = _is_leaf(tensor)
        if not leaf and not inputs and tensor.is_floating_point():
            inputs = self._from_elsewhere(tensor)
        value = Value(None, inputs, tensor, len(self.roots))
        value.leaf = leaf
        # Kept, so that no other tensor gets its id.
        self.roots.append(tensor)
        return self._know(tensor, value)

    def _know(self, tensor: Tensor, value: Value) -> Value:
        self.values.append(value)
        self._known[id(tensor)] = weakref.ref(tensor), value
        return value

    def _from_elsewhere(self, result: Any) -> tuple[Value, ...]:
        """What a new tensor of numbers may come from: values that the same call of the user handed to a program."""
        if not (self.frames and isinstance(result, Tensor) and result.is_floating_point()):
            return ()
        above = frames_above()
        return tuple(value for frame, values in self.frames.items() if frame in above for value in values)

    def _values_in(self, given: Any) -> tuple[Value, ...]:
        found: list[Value] = []
        self._collect(given, found)
        return tuple(found)

    def _collect(self, given: Any, found: list[Value]) -> None:
        if isinstance(given, Tensor):
            found.append(self.value_of(given))
        elif isinstance(given, tuple | list):
            for item in given:
                if not isinstance(item, int | float | str) or isinstance(item, FOLLOWED):
                    self._collect(item, found)
        elif isinstance(given, dict):
            self._collect(list(given.values()), found)
        elif isinstance(given, FOLLOWED):
            found += given.values

    def _where_off(self) -> Place | None:
        if torch.is_grad_enabled():
            return None
        begun = self._off[-1]
        return place_of(3) if begun is None else line_in(begun.frame, begun)

    def _leave(self, name: str, inputs: tuple[Value, ...], result: Any) -> Any:
        place = place_of(3)
        value = Value(Call(name, "python", place, self._where_off()), inputs, None)
        self.values.append(value)
        if place.inside in ("torch", "hardgrad"):
            return result
        self.left.append(value)
        if name in PROGRAM and name not in ("item", "tolist"):
            self.frames.setdefault(place.frame, []).append(value)
        return followed(result, (value,)) if name in ("item", "tolist") else result

    def _note(self, func: Any, name: str, inputs: Any, args: Any, named: Any, result: Any) -> None:
        kind = kind_of(name, args, named, result)
        call = Call(name, kind, place_of(3), self._where_off())
        if is_in_place(func) or name == "=data":
            target = args[0]
            if _is_leaf(target):  # an optimizer's step, an initialization
                return
            self._know(target, Value(call, inputs, target))
            if target._base is not None:
                base = target._base
                self._know(base, Value(call, (self.value_of(base), *inputs), base))
            return
        made = list(_tensors(result))
        paired = name in ("broadcast_tensors", "meshgrid") and len(made) == len(inputs)
        for i, tensor in enumerate(made):
            own = call if tensor.is_floating_point() or kind else Call(name, "whole", call.place, call.off)
            self._know(tensor, Value(own, inputs[i : i + 1] if paired else inputs, tensor))

    def _backward(self, func: Any, name: str, args: Any, named: Any) -> Any:
        roots = named.get("outputs", named.get("tensors", args[0] if args else None))
        values = list(self._values_in([roots]))
        if name == "grad" and named.get("create_graph"):
            inputs = self._values_in((args, named))
            result = func(*args, **named)
            self._note(func, name, inputs, args, named, result)
            return result
        leaves = [root for root in self.roots if root is not None and _is_leaf(root)]
        passing = Passing([value.node for value in values], leaves)
        self.passes.append((values, passing))
        with passing:
            return func(*args, **named)

    def close(self) -> None:
        """Let go of what the step held."""
        for value in self.values:
            value.node = value.terms = None
            value.inputs = ()
        self._known.clear()


def _is_leaf(tensor: Tensor) -> bool:
    # A view that is made without gradients says of itself that it is a leaf which requires one.
    return tensor.requires_grad and tensor.is_leaf and not (tensor._is_view() and tensor._base.requires_grad)


def _tensors(result: Any) -> Iterable[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, tuple | list):
        for item in result:
            yield from _tensors(item)
