"""Two relations of each value to the leaves: which it depends on, and which it has a derivative in.

A leaf that a value depends on and has no derivative in is lost. A value is a list of terms, as long as it is a sum of
numbers, as a loss is: what one term lost another does not bring back. Any other operation merges its terms, and there a
leaf that is differentiable beside the loss has come back: x + (q - x).detach(), or x * (x > 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch.autograd.function import BackwardCFunction

from hardgrad.doctor.flow.calls import SCALES, SUMS
from hardgrad.doctor.flow.passing import Flow, leaf_of
from hardgrad.doctor.flow.tape import Tape
from hardgrad.doctor.flow.values import Call, Value

_MOST = 64  # terms of a sum
_FLAT_NODES = ("Sign", "Sgn", "Round", "Floor", "Ceil", "Trunc", "Bernoulli", "Zero", "Fill")


@dataclass(slots=True, eq=False)
class Term:
    """What one term depends on, as sets of bits."""

    made: int  # roots it depends on
    has: int  # leaves it has a derivative in
    lost: dict[Call, int]  # leaves it lost, by the call that lost them
    drawn: frozenset[Call]  # samples it depends on
    chosen: Call | None  # the argmin or argmax that it is the answer of, as numbers or one-hot


class Relations:
    """The relations of all values on a tape whose backward is over."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.flows: dict[Any, list[Flow]] = {}  # of each node
        self.calls: dict[Any, Call] = {}  # which made a node
        self.silent: dict[Call, str] = {}  # custom Functions that gave nothing, and what: "None" or "zeros"
        self.back: set[Call] = set()  # calls that lost leaves which came back
        self.leaves = 0
        self.codes = 0  # tables of which the nearest are looked up
        self._bits = {id(root): bit for bit, root in enumerate(tape.roots)}
        self._flat: set[Any] = set()
        self._reach: dict[Any, int] = {}
        sizes: dict[int, float] = {}
        for _, passing in tape.passes:
            for node, flow in passing.flows.items():
                self.flows.setdefault(node, []).append(flow)
            for leaf, size in passing.got.items():
                sizes[leaf] = max(sizes.get(leaf, 0.0), size)
        self.got = {self._bits[leaf]: size for leaf, size in sizes.items() if leaf in self._bits}
        for value in tape.values:
            self._relate(value)

    def _relate(self, value: Value) -> None:
        call, has = value.call, 1 << value.bit if value.leaf else 0
        self.leaves |= has
        if value.node is not None and call is not None:
            self._claim(value.node, call)
        has |= self.reach(value.node)
        terms = [term for given in value.inputs for term in given.terms]
        value.terms = self._sum(value, call, terms) or [self._merge(value, call, terms, has)]

    def _claim(self, node: Any, call: Call) -> None:
        """Let the nodes be a call's that no call before it made."""
        if call.kind in ("flat", "one", "sample"):
            self._flat.add(node)
        waiting = [node]
        while waiting:
            node = waiting.pop()
            if node not in self.calls:
                self.calls[node] = call
                waiting += [after for after, _ in node.next_functions if after is not None]

    def _sum(self, value: Value, call: Call | None, terms: list[Term]) -> list[Term]:
        """The terms of a sum of numbers, or of a sum times a number; none where they merge."""
        if call is None or call.off is not None or len(value.shape) > 1 or call.name not in SUMS | SCALES:
            return []
        if call.name in SUMS:
            terms = [term for term in terms if term.made]
            return terms if value.node is not None and len(terms) <= _MOST else []
        parts = [[t for t in given.terms if t.made & self.leaves] for given in value.inputs]
        parts = sorted((part for part in parts if part), key=len, reverse=True)
        if len(parts) == 1 and value.node is not None:
            return parts[0]
        if len(parts) == 2 and len(parts[1]) == 1:
            one = parts[1][0]
            return [self._merge(value, call, [term, one], term.has | one.has) for term in parts[0]]
        return []

    def _merge(self, value: Value, call: Call | None, terms: list[Term], has: int) -> Term:
        made, before, lost = has | (1 << value.bit if value.bit >= 0 else 0), 0, dict[Call, int]()
        for term in terms:
            made, before = made | term.made, before | term.has
            for site, mask in term.lost.items():
                lost[site] = lost.get(site, 0) | mask
        drawn = frozenset[Call]().union(*(term.drawn for term in terms))
        if call is not None:
            # A gradient depends on fewer leaves than what it is of, and what is copied over is gone.
            here = before & ~has if call.name not in ("grad", "copy") or value.node is None else 0
            if not deliberate(call):  # who detached a part of what goes in here did not mean this
                lost = {site: mask & ~here if deliberate(site) else mask for site, mask in lost.items()}
            if call.kind == "sample":  # torch draws under a no_grad of its own
                here |= sum_of(mask for site, mask in lost.items() if site.off and site.off.inside == "torch")
                lost = {site: mask for site, mask in lost.items() if not (site.off and site.off.inside == "torch")}
                drawn |= {call}
            lost[call] = lost.get(call, 0) | here
        self.back.update(site for site, mask in lost.items() if mask & has)
        lost = {site: mask & ~has for site, mask in lost.items() if mask & ~has}
        self._looked_up(terms, lost)
        return Term(made, has, lost, drawn, self._chosen(call, terms))

    def _chosen(self, call: Call | None, terms: list[Term]) -> Call | None:
        older = next((term.chosen for term in terms if term.chosen is not None), None)
        if older is not None and not any(term.has for term in terms):
            return older
        return (
            call
            if call is not None and call.kind == "whole" and call.name in ("argmin", "argmax", "max", "min")
            else None
        )

    def _looked_up(self, terms: list[Term], lost: dict[Call, int]) -> None:
        """A look-up of the nearest in a table: what was detached before the choice was lost by the choice."""
        for index in terms:
            tables = sum_of(t.made for t in terms if self._is_table(t.made) and not t.made & ~index.made)
            if index.chosen is not None and tables:
                self.codes |= tables
                for site in [site for site in index.lost if site in lost and deliberate(site)]:
                    index.chosen.kind = "chosen"
                    lost[index.chosen] = lost.get(index.chosen, 0) | index.lost[site] & lost.pop(site)

    def _is_table(self, made: int) -> bool:
        """Whether these are the bits of one parameter or buffer of the model."""
        return bool(made) and not made & (made - 1) and id(self.tape.roots[made.bit_length() - 1]) in self.tape.owned

    def reach(self, node: Any) -> int:
        """Return the leaves that a node's backward leads to."""
        stack = [] if node is None else [node]
        while stack:
            if stack[-1] in self._reach:
                stack.pop()
                continue
            after = self._open(stack[-1])
            missing = [n for n in after if n not in self._reach]
            if missing:
                stack += missing
                continue
            top = stack.pop()
            self._reach[top] = self._leaf(top) | sum_of(self._reach[n] for n in after)
        return 0 if node is None else self._reach[node]

    def _leaf(self, node: Any) -> int:
        leaf = leaf_of(node)
        if leaf is None:
            return 0
        if id(leaf) not in self._bits:
            self._bits[id(leaf)] = len(self.tape.roots)
            self.tape.roots.append(leaf)
        self.leaves |= 1 << self._bits[id(leaf)]
        return 1 << self._bits[id(leaf)]

    def _open(self, node: Any) -> list[Any]:
        """The nodes that a node passes a gradient to."""
        custom = isinstance(node, BackwardCFunction)
        if node in self._flat or (not custom and node.name().startswith(_FLAT_NODES)):
            return []
        flows = [flow for flow in self.flows.get(node, ()) if flow.came] if custom else []
        kept = []
        for i, (after, _) in enumerate(node.next_functions):
            if after is not None and flows and not any(flow.passed[i] for flow in flows):
                if node in self.calls:
                    self.silent[self.calls[node]] = "zeros" if any(flow.given[i] for flow in flows) else "None"
            elif after is not None:
                kept.append(after)
        return kept


def sum_of(masks: Any) -> int:
    """Return the union of sets of bits."""
    union = 0
    for mask in masks:
        union |= mask
    return union


def deliberate(call: Call) -> bool:
    """Whether somebody wrote down that no gradient shall pass here."""
    if call.kind in ("custom", "chosen"):
        return False
    if call.kind == "sample":
        return call.off is not None and call.off.inside != "torch"
    return call.off is not None or call.kind == "detach" or call.place.inside == "hardgrad"
