"""Which places of a step are breaks, and which are harmless, and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad.doctor.flow.calls import DEAD, PROGRAM, SATURATES, WRITES
from hardgrad.doctor.flow.relations import Relations, Term, deliberate
from hardgrad.doctor.flow.report import Break, Harmless, Kind
from hardgrad.doctor.flow.tape import Call, Tape, Value
from hardgrad.doctor.flow.words import cure_of, spelled, why_of


_COPIES = {"target", "teacher", "ema", "momentum", "frozen", "reference", "old", "slow"}  # names of networks that follow


def _alike(x: Tensor, y: Tensor) -> bool:
    """Whether one matrix follows the other, as an average over its past does; two of their own have a cosine of 0."""
    if x.ndim < 2 or x.shape != y.shape:
        return False
    with torch.no_grad():
        return bool(torch.cosine_similarity(x.flatten().double(), y.flatten().double(), dim=0) > 0.8)


def _head(name: str, other: str) -> str:
    """The name of the module that holds one and not the other: without the end that the names share."""
    parts, others = name.split("."), other.split(".")
    while len(parts) > 1 and others and parts[-1] == others[-1]:
        parts, others = parts[:-1], others[:-1]
    return ".".join(parts)


class Judge:
    """Goes through the terms of what was differentiated, then through the leaves that got nothing."""

    def __init__(self, tape: Tape, names: Mapping[int, str], modules: Mapping[int, str]) -> None:
        self.tape, self.names, self.modules = tape, names, modules
        self.relations = Relations(tape)
        self.found: dict[Call, tuple[Kind, int, str]] = {}
        self.interest = self._mask(bit for bit, root in enumerate(tape.roots) if id(root) in names)
        self.interest &= self.relations.leaves
        self.terms = [term for values, _ in tape.passes for value in values for term in value.terms]
        self.got = self.relations.got
        self._structure()
        self._numbers()
        self._deliberate()
        self._python()

    @staticmethod
    def _mask(bits: Iterable[int]) -> int:
        mask = 0
        for bit in bits:
            mask |= 1 << bit
        return mask

    def _without(self) -> int:
        """The leaves of interest that got no gradient, or zeros."""
        return self.interest & ~self._mask(bit for bit, size in self.got.items() if size)

    def _structure(self) -> None:
        for term in self.terms:
            by_hand = self._mask_of(term, deliberate)
            one = self._mask_of(term, lambda call: call.kind == "one")
            for call, mask in term.lost.items():
                mask &= self.interest & ~by_hand
                if call.kind == "python" and call.name in ("item", "tolist") and term.has:
                    mask &= self._without()
                if call.kind == "sample":
                    mask &= ~self._scored(call)
                if call.kind != "one":
                    mask &= ~one
                if mask and not deliberate(call):
                    self._add(call, mask)

    def _mask_of(self, term: Term, rule: Any) -> int:
        mask = 0
        for call, lost in term.lost.items():
            mask |= lost if rule(call) else 0
        return mask

    def _scored(self, call: Call) -> int:
        """Leaves with a derivative in a term that knows the sample: the score function's."""
        mask = 0
        for term in self.terms:
            mask |= term.has if call in term.drawn else 0
        return mask

    def _add(self, call: Call, mask: int, kind: Kind | None = None, why: str = "") -> None:
        if kind is None:
            kind = "suspicious" if call.kind == "one" else "flat" if call.kind == "flat" else "cut"
            if call.kind == "custom":
                given = self.relations.silent.get(call, "None")
                kind, why = ("flat" if given == "zeros" else "cut"), f"its backward returns {given} for this input"
        before = self.found.get(call, (kind, 0, why))
        self.found[call] = (before[0], before[1] | mask, before[2])

    def _explained(self) -> int:
        mask = 0
        for _, lost, _ in self.found.values():
            mask |= lost
        return mask

    def _deliberate(self) -> None:
        missing = self._without() & ~self._explained() & ~self._twins()
        for term in self.terms:
            for call, mask in term.lost.items():
                if deliberate(call) and mask & missing:
                    self._add(self._onward(call), mask & missing, "cut")

    def _onward(self, call: Call) -> Call:
        """The program that a value was detached for, if it was."""
        for value in self.tape.left:
            if value.call is not None and value.call.name in PROGRAM and any(v.call is call for v in value.inputs):
                return value.call
        return call

    def _twins(self) -> int:
        """Leaves of a copy of something that has a gradient: a target network, a teacher."""
        roots = [(bit, self.names[id(root)], root) for bit, root in enumerate(self.tape.roots) if id(root) in self.names]
        alive = [part for part in roots if self.got.get(part[0])]
        dead = [part for part in roots if not self.got.get(part[0])]
        heads = {_head(name, other) for _, name, x in dead for _, other, y in alive if _alike(x, y)}
        return self._mask(
            bit for bit, name, _ in dead if any(name.startswith(head) for head in heads) or _COPIES & set(name.split("."))
        )

    def _python(self) -> None:
        missing = self._without() & ~self._explained()
        for value in self.tape.left:
            mask = value.terms[0].made & missing & ~self._reached()
            if mask and value.call is not None and value.call.off is None:
                self._add(value.call, mask, "cut")

    def _reached(self) -> int:
        mask = 0
        for term in self.terms:
            mask |= term.has
        return mask

    def _numbers(self) -> None:
        """Where a gradient that came became zero, or no number, on the way to a leaf that got that."""
        zero = self._mask(b for b, size in self.got.items() if not size) & self.interest & self._reached()
        wild = self._mask(b for b, size in self.got.items() if size == math.inf) & self.interest
        for node, flows in self.relations.flows.items():
            call = self.relations.calls.get(node)
            if call is None:
                continue
            came = max(flow.came for flow in flows)
            passed = max((max(flow.passed, default=0.0) for flow in flows), default=0.0)
            reach = self.relations.reach(node)
            if came and not passed and reach & zero:
                self._died(call, reach & zero)
            if came < math.inf and passed == math.inf and reach & wild:
                self._add(call, reach & wild, "suspicious", "its derivative is no finite number at these values")
        self._cancelled(zero & ~self._explained())

    def _cancelled(self, zero: int) -> None:
        """Where what came along several ways is zero in all."""
        came = {node: max(flow.came for flow in flows) for node, flows in self.relations.flows.items()}
        for node, flows in self.relations.flows.items():
            for i, (after, _) in enumerate(node.next_functions):
                reach = self.relations.reach(after) & zero
                if reach and after in came and not came[after] and any(flow.passed[i] for flow in flows):
                    if node in self.relations.calls:
                        why = "what comes back along several ways cancels: the value does not depend on what goes in"
                        self._add(self.relations.calls[node], reach, "suspicious", why)

    def _died(self, call: Call, mask: int) -> None:
        if call.place.inside == "hardgrad":
            return
        if call.name in DEAD:
            self._add(call, mask, "dead", "it is off for the whole batch: zero comes out, and no gradient passes")
        elif call.name in SATURATES:
            self._add(call, mask, "suspicious", "it is saturated for the whole batch: no gradient passes")
        elif call.name in WRITES:
            self._add(call, mask, "cut", "what is written in place has no derivative in what was there")

    # ---- the answer

    def breaks(self) -> tuple[Break, ...]:
        """Return what was found, one for each place, in the order of the step."""
        order = {id(value.call): number for number, value in enumerate(self.tape.values) if value.call is not None}
        merged: dict[tuple[Any, ...], tuple[Call, Kind, int, str]] = {}
        for call, (kind, mask, why) in sorted(self.found.items(), key=lambda item: order.get(id(item[0]), 0)):
            place = self._place(call)
            key = (place.file, place.line, spelled(call), kind, self.module(call))
            first = merged.get(key, (call, kind, 0, why))
            merged[key] = (*first[:2], first[2] | mask, first[3])
        return tuple(self._break(*parts) for parts in merged.values())

    def _break(self, call: Call, kind: Kind, mask: int, why: str) -> Break:
        place = self._place(call)
        shape, comes, arrives = self._flow(call)
        lost = self.listed(mask)
        why = why or why_of(call)
        return Break(
            kind, place.file, place.line, self.module(call), spelled(call), cure_of(call), why, lost, shape, comes, arrives
        )

    def _place(self, call: Call) -> Any:
        if call.off is not None and call.kind in ("", "detach") and call.off.file:
            return call.off
        return call.place

    def module(self, call: Call) -> str:
        """Return the name of the module that a call stands in."""
        module = call.place.module
        return "" if module is None else self.modules.get(id(module), type(module).__name__)

    def listed(self, mask: int) -> tuple[str, ...]:
        """Return the names of leaves."""
        roots = [root for bit, root in enumerate(self.tape.roots) if mask >> bit & 1]
        return tuple(self.names[id(root)] for root in roots if id(root) in self.names)

    def _flow(self, call: Call) -> tuple[tuple[int, ...], float, float]:
        made = [value for value in self.tape.values if value.call is call]
        value: Value = made[0]
        shape = value.inputs[0].shape if call.kind == "python" and value.inputs else value.shape
        for node, owner in self.relations.calls.items():
            if owner is call and node in self.relations.flows:
                flow = self.relations.flows[node][-1]
                return shape, (flow.rows if flow.rows is not None else float(flow.came > 0)), float(any(flow.passed))
        return shape, 0.0, 0.0

    def harmless(self) -> tuple[Harmless, ...]:
        """Return the places that stop a gradient by which nothing is lost."""
        lines: dict[tuple[Any, ...], Harmless] = {}
        taken = {(self._place(call).file, self._place(call).line) for call in self.found}
        on_the_way = {call for term in self.terms for call in term.lost}
        for value in self.tape.values:
            call = value.call
            stops = call is not None and (call.kind not in ("", "custom") or call.off is not None)
            if call is None or not stops or call.place.inside in ("torch", "hardgrad"):
                continue
            place = self._place(call)
            key = (place.file, place.line, spelled(call))
            if key[:2] not in taken and place.file and key not in lines:
                why = self._why_harmless(call, value, call in on_the_way)
                lines[key] = Harmless(*key[:2], self.module(call), spelled(call), why)
        return tuple(lines.values())

    def _why_harmless(self, call: Call, value: Value, on_the_way: bool) -> str:
        if not any(term.made & self.interest for term in value.terms):
            return "nothing before it needs a gradient"
        if call in self.relations.back:
            return "what it loses is differentiable beside it: it only chooses, masks or copies a value"
        if on_the_way:
            return "what is cut here by hand has its gradient from elsewhere"
        return "nobody differentiates what follows from it"

    def parameters(self) -> dict[str, str]:
        """Return who gets no good gradient, and what instead."""
        used = 0
        for value in self.tape.values:
            for term in value.terms:
                used |= term.made if value.call is not None else 0
        bits = {id(root): bit for bit, root in enumerate(self.tape.roots)}
        said = {}
        for identity, name in self.names.items():
            bit = bits.get(identity)
            size = None if bit is None else self.got.get(bit)
            if size is None:
                said[name] = "none" if bit is not None and used >> bit & 1 else "unused"
            elif size == 0 or size == math.inf:
                said[name] = "zero" if size == 0 else "not finite"
        return said


def names_of(model: Any, inputs: Iterable[tuple[str, Tensor]]) -> tuple[dict[int, str], dict[int, str]]:
    """Return the names of leaves and of modules, by ``id``."""
    leaves = {id(tensor): name for name, tensor in inputs if tensor.requires_grad}
    modules: dict[int, str] = {}
    if isinstance(model, nn.Module):
        leaves |= {id(p): name for name, p in model.named_parameters() if p.requires_grad}
        modules = {id(module): name for name, module in model.named_modules()}
    return leaves, modules
