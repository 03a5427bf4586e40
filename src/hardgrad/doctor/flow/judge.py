"""Which calls of a step lose a gradient for good: by its terms, by what arrived, and by what was done by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from hardgrad.doctor.flow.calls import DEAD, SATURATES, WRITES
from hardgrad.doctor.flow.relations import Relations, Term, deliberate, sum_of
from hardgrad.doctor.flow.report import Kind
from hardgrad.doctor.flow.tape import Tape
from hardgrad.doctor.flow.values import Call

_COPIES = {"target", "teacher", "ema", "momentum", "frozen", "reference", "old", "slow"}  # networks that follow another
_FOLLOWS = 0.8  # cosine of two matrices of which one is an average of the other's past; of strangers it is about 0


class Verdict(NamedTuple):
    """What a call is charged with: the leaves it lost, as bits."""

    kind: Kind
    mask: int
    why: str


class Judge:
    """Judges a tape whose backward is over; ``names`` of the leaves that are asked about are by their ``id``."""

    def __init__(self, tape: Tape, names: Mapping[int, str]) -> None:
        self.tape, self.names, self.relations = tape, names, Relations(tape)
        self.found: dict[Call, Verdict] = {}
        self.terms: list[Term] = [term for values, _ in tape.passes for value in values for term in value.terms]
        self.asked = sum_of(1 << bit for bit, root in enumerate(tape.roots) if id(root) in names)
        self.asked &= self.relations.leaves
        self.without = self.asked & ~sum_of(1 << bit for bit, size in self.relations.got.items() if size)
        self._by_terms()
        self._by_numbers()
        self._by_hand()
        self._by_python()

    def _charge(self, call: Call, mask: int, kind: Kind | None = None, why: str = "") -> None:
        if kind is None:
            kind = "suspicious" if call.kind == "one" else "flat" if call.kind == "flat" else "cut"
        if call.kind == "custom" and not why:
            given = self.relations.silent.get(call, "None")
            kind, why = ("flat" if given == "zeros" else "cut"), f"its backward returns {given} for this input"
        before = self.found.get(call, Verdict(kind, 0, why))
        self.found[call] = before._replace(mask=before.mask | mask)

    def _unexplained(self) -> int:
        return self.without & ~sum_of(verdict.mask for verdict in self.found.values())

    def _by_terms(self) -> None:
        """What a term lost without anybody's wish, and does not get back."""
        for term in self.terms:
            # What gets nothing from the whole step was not meant to: no wish explains that.
            excused = sum_of(mask for call, mask in term.lost.items() if deliberate(call)) & ~self.without
            over_one = sum_of(mask for call, mask in term.lost.items() if call.kind == "one")
            for call, mask in term.lost.items():
                mask &= self.asked & ~excused & ~(0 if call.kind == "one" else over_one)
                # A number in a term that has a gradient may be a weight; a gradient that is reversed may start at zero.
                if (call.name in ("item", "tolist") and term.has) or self.relations.silent.get(call) == "zeros":
                    mask &= self.without
                if call.kind == "sample":  # a term that knows the sample has the score function's gradient
                    mask &= ~sum_of(other.has for other in self.terms if call in other.drawn)
                if mask and not deliberate(call):
                    self._charge(call, mask)

    def _by_numbers(self) -> None:
        """Where a gradient that came became zero, or no finite number, on the way to a leaf that got that."""
        relations = self.relations
        zero = self.without & sum_of(term.has for term in self.terms)
        wild = self.asked & sum_of(1 << bit for bit, size in relations.got.items() if size == math.inf)
        for node, flows in relations.flows.items():
            call, reach = relations.calls.get(node), relations.reach(node)
            came = max(flow.came for flow in flows)
            passed = max((size for flow in flows for size in flow.passed), default=0.0)
            if call is not None and came and not passed and reach & zero:
                self._died(call, reach & zero)
            if call is not None and came < math.inf == passed and reach & wild:
                self._charge(call, reach & wild, "suspicious", "its derivative is no finite number at these values")
        self._cancelled(zero & self._unexplained())

    def _died(self, call: Call, mask: int) -> None:
        if call.place.inside == "hardgrad":
            return
        if call.name in DEAD:
            self._charge(call, mask, "dead", "it is off for the whole batch, and passes no gradient")
        elif call.name in SATURATES:
            self._charge(call, mask, "suspicious", "it is saturated for the whole batch, and passes no gradient")
        elif call.name in WRITES:
            self._charge(call, mask, "cut", "what is written in place has no derivative in what was there")

    def _cancelled(self, zero: int) -> None:
        flows, calls = self.relations.flows, self.relations.calls
        for node, own in flows.items():
            for i, (after, _) in enumerate(node.next_functions):
                reach = self.relations.reach(after) & zero
                dead = reach and after in flows and not any(flow.came for flow in flows[after])
                if dead and node in calls and any(flow.passed[i] for flow in own):
                    self._charge(
                        calls[node], reach, "suspicious", "what it passes back is canceled, or zeroed by a hook"
                    )

    def _by_hand(self) -> None:
        """What was detached on purpose, where the leaves get no gradient from anywhere else."""
        missing = self._unexplained() & ~self._copies()
        for term in self.terms:
            for call, mask in term.lost.items():
                if deliberate(call) and mask & missing:
                    self._charge(call, mask & missing, "cut")

    def _copies(self) -> int:
        """Leaves of a copy of something that has a gradient: a target network, a teacher."""
        named = [
            (bit, self.names[id(root)], root) for bit, root in enumerate(self.tape.roots) if id(root) in self.names
        ]
        dead = [leaf for leaf in named if self.without >> leaf[0] & 1]
        heads = {
            _head(name, other)
            for _, name, x in dead
            for bit, other, y in named
            if not self.without >> bit & 1 and _follows(x, y)
        }
        words = {bit: set(name.replace("_", ".").split(".")) for bit, name, _ in dead}
        return sum_of(1 << bit for bit, name, _ in dead if words[bit] & _COPIES or name.startswith(tuple(heads)))

    def _by_python(self) -> None:
        """Values that Python took, of leaves that nothing else gives a gradient."""
        missing = self._unexplained() & ~sum_of(term.has for term in self.terms)
        for value in self.tape.left:
            mask = sum_of(term.made for term in value.terms) & missing
            if mask and value.call is not None:
                self._charge(value.call, mask, "cut")


def _follows(x: Tensor, y: Tensor) -> bool:
    if x.ndim < 2 or x.shape != y.shape:
        return False
    with torch.no_grad():
        return bool(torch.cosine_similarity(x.flatten().float(), y.flatten().float(), dim=0) > _FOLLOWS)


def _head(name: str, other: str) -> str:
    """The name of the module that holds one and not the other: without the end that both names share."""
    parts, others = name.split("."), other.split(".")
    while len(parts) > 1 and others and parts[-1] == others[-1]:
        parts, others = parts[:-1], others[:-1]
    return ".".join(parts)
