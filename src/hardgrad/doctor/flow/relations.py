"""Two relations of each value to the leaves: which it depends on, and which it has a derivative in.

A leaf that a value depends on and has no derivative in is lost. A value is a list of terms, as long as it is a sum of
numbers, as a loss is: what one term lost another does not bring back. Any other operation merges its terms, and there a
leaf that is differentiable beside the loss has come back: x + (q - x).detach(), or x * (x > 0).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch.autograd.function import BackwardCFunction

from hardgrad.doctor.flow.calls import SCALES, SUMS
from hardgrad.doctor.flow.passing import Flow
from hardgrad.doctor.flow.tape import Call, Tape, Value

_MOST = 64  # terms of a sum
_FLAT_NODES = ("Sign", "Sgn", "Round", "Floor", "Ceil", "Trunc", "Heaviside", "Bernoulli", "Zero", "Fill")


@dataclass(slots=True)
class Term:
    """What one term depends on, as sets of bits.

    Attributes:
        made: roots it depends on.
        has: leaves it has a derivative in.
        lost: leaves it lost, by the call that lost them.
        drawn: samples it depends on.
        chosen: the call that made whole numbers of what the term is, if it is one of those or one-hot.
    """

    made: int = 0
    has: int = 0
    lost: dict[Call, int] = field(default_factory=dict)
    drawn: frozenset[Call] = frozenset()
    chosen: Call | None = None


class Relations:
    """The relations of all values on a tape whose backward is over."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.flows: dict[Any, list[Flow]] = {}
        for _, passing in tape.passes:
            for node, flow in passing.flows.items():
                self.flows.setdefault(node, []).append(flow)
        self.calls: dict[Any, Call] = {}  # which call made a node
        self.silent: dict[Call, str] = {}  # custom Functions that gave nothing, and what
        self.back: dict[Call, int] = {}  # leaves that a call lost and that came back
        self._reach: dict[Any, int] = {}
        self._flat: set[Any] = set()
        self._bits = {id(root): bit for bit, root in enumerate(tape.roots)}
        self.leaves = 0
        self.got: dict[int, float] = {}  # the largest gradient of each leaf that got one, by its bit
        for _, passing in tape.passes:
            for leaf, size in passing.got.items():
                bit = self._bits.get(leaf)
                if bit is not None:
                    self.got[bit] = max(self.got.get(bit, 0.0), size)
        for value in tape.values:
            self._add(value)

    def _add(self, value: Value) -> None:
        call = value.call
        if value.leaf:
            self.leaves |= 1 << value.bit
        if value.node is not None and call is not None:
            self._claim(value.node, call)
            if call.kind in ("flat", "one", "sample"):
                self._flat.add(value.node)
        has = self.reach(value.node)
        has |= 1 << value.bit if value.leaf else 0
        terms = [term for given in value.inputs for term in given.terms]
        if call is not None and call.name == "CheckpointFunction":  # its backward runs another, that no edge leads to
            has |= sum(1 << bit for bit, size in self.got.items() if size and any(t.made >> bit & 1 for t in terms))
        if call is not None and len(value.shape) <= 1 and call.off is None and call.name in SUMS | SCALES:
            kept = self._sum(value, call, terms)
            if kept is not None:
                value.terms = kept
                return
        value.terms = [self._merge(value, call, terms, has)]

    def _sum(self, value: Value, call: Call, terms: list[Term]) -> list[Term] | None:
        """The terms of a sum, or of a sum times a number that depends on nothing; None where they merge."""
        terms = [term for term in terms if term.made or term.lost]
        if not 1 < len(terms) <= _MOST:
            return None if len(terms) != 1 or not self.reach(value.node) else terms
        if call.name in SUMS:
            return terms
        parts = [[t for t in given.terms if t.made & self.leaves] for given in value.inputs]
        parts = [part for part in parts if part]
        if len(parts) == 1:
            return parts[0]
        if len(parts) == 2 and min(map(len, parts)) == 1:
            many, (one,) = sorted(parts, key=len, reverse=True)
            return [self._merge(value, call, [term, one], term.has | one.has) for term in many]
        return None

    def _merge(self, value: Value, call: Call | None, terms: list[Term], has: int) -> Term:
        made, before, lost, drawn = has, 0, {}, frozenset[Call]()
        for term in terms:
            made, before, drawn = made | term.made, before | term.has, drawn | term.drawn
            for site, mask in term.lost.items():
                lost[site] = lost.get(site, 0) | mask
        if value.bit >= 0:
            made |= 1 << value.bit
        if call is not None and before & ~has:
            lost[call] = lost.get(call, 0) | before & ~has
        if call is not None and not deliberate(call):  # who detached a part of what goes in here did not mean this
            for site in [site for site in lost if deliberate(site)]:
                lost[site] &= ~(before & ~has)
        if call is not None and call.kind == "sample":
            drawn |= {call}
            lost = {(call if site.off is not None and site.off.inside == "torch" else site): lost[site] for site in lost}
        for site, mask in list(lost.items()):
            if mask & has:
                self.back[site] = self.back.get(site, 0) | mask & has
            lost[site] = mask & ~has
            if not lost[site]:
                del lost[site]
        self._looked_up(terms, lost)
        return Term(made, has, lost, drawn, self._chosen(call, terms))

    def _chosen(self, call: Call | None, terms: list[Term]) -> Call | None:
        older = [term.chosen for term in terms if term.chosen is not None]
        if older and not any(term.has for term in terms):
            return older[0]
        return call if call is not None and call.kind == "whole" and call.name.startswith("arg") else None

    def _looked_up(self, terms: list[Term], lost: dict[Call, int]) -> None:
        """A look-up of the nearest in a table: what was detached before the choice was lost by the choice."""
        for index in terms:
            if index.chosen is None or not index.lost:
                continue
            table = any(t is not index and t.made and self._is_table(t.made) and not t.made & ~index.made for t in terms)
            if table:
                masks = [(site, index.lost[site]) for site in index.lost if site in lost and deliberate(site)]
                for site, mask in masks:
                    index.chosen.kind = "chosen"
                    lost[index.chosen] = lost.get(index.chosen, 0) | mask & lost.pop(site)

    def _is_table(self, made: int) -> bool:
        if made & (made - 1):
            return False
        return id(self.tape.roots[made.bit_length() - 1]) in self.tape.owned

    def _claim(self, node: Any, call: Call) -> None:
        waiting = [node]
        while waiting:
            node = waiting.pop()
            if node not in self.calls:
                self.calls[node] = call
                waiting += [after for after, _ in node.next_functions if after is not None]

    def reach(self, node: Any) -> int:
        """Return the leaves that a node's backward leads to."""
        if node is None:
            return 0
        stack = [node]
        while stack:
            top = stack[-1]
            if top in self._reach:
                stack.pop()
                continue
            after = self._open(top)
            missing = [n for n in after if n not in self._reach]
            if missing:
                stack += missing
                continue
            stack.pop()
            mask = self._leaf(top)
            for n in after:
                mask |= self._reach[n]
            self._reach[top] = mask
        return self._reach[node]

    def _leaf(self, node: Any) -> int:
        variable = getattr(node, "variable", None)
        if variable is None or node.next_functions:
            return 0
        if id(variable) not in self._bits:
            self._bits[id(variable)] = len(self.tape.roots)
            self.tape.roots.append(variable)
        self.leaves |= 1 << self._bits[id(variable)]
        return 1 << self._bits[id(variable)]

    def _open(self, node: Any) -> Iterable[Any]:
        """The nodes that a node passes a gradient to."""
        after = [n for n, _ in node.next_functions]
        call = self.calls.get(node)
        if call is None or call.kind != "custom" or not isinstance(node, BackwardCFunction):
            if node in self._flat or node.name().startswith(_FLAT_NODES):
                return []
            return [n for n in after if n is not None]
        flows = [flow for flow in self.flows.get(node, ()) if flow.came]
        kept = []
        for i, n in enumerate(after):
            if n is None:
                continue
            if flows and not any(flow.passed[i] for flow in flows):
                self.silent[call] = "zeros" if any(flow.given[i] for flow in flows) else "None"
            else:
                kept.append(n)
        return kept


def deliberate(call: Call) -> bool:
    """Whether somebody wrote down that no gradient shall pass here."""
    if call.kind in ("custom", "chosen"):
        return False
    if call.kind == "sample":
        return call.off is not None and call.off.inside != "torch"
    return call.off is not None or call.kind == "detach" or call.place.inside == "hardgrad"
