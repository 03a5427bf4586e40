"""How long an examination takes: what a call of the function costs, what is left, and a limit that is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

TRUTH, COST = "truth", "cost"
Tell = Callable[["Progress"], object]


class Progress(NamedTuple):
    """How far an examination is.

    Args:
        name: whose turn it is: "truth", a candidate, or "cost".
        done: turns that are over, and the share of the running one.
        total: turns in all.
        seconds_left: a guess; None before there is one.
    """

    name: str
    done: float
    total: int
    seconds_left: float | None

    @property
    def left(self) -> str:
        """What is left as people say it, such as "about 12 minutes"; empty before there is a guess."""
        return "" if self.seconds_left is None else f"about {_duration(self.seconds_left)}"

    def __str__(self) -> str:
        left = f", {self.left} left" if self.left else ""
        return f"{self.name}: {self.done:.1f} of {self.total} turns done{left}"


def _duration(seconds: float) -> str:
    """Return a time as people say it: 40 seconds, 12 minutes, 3.5 hours."""
    for size, unit in ((3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}" if seconds < 10 * size else f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 1):.0f} seconds" if seconds >= 1.5 else "1 second"


@dataclass(frozen=True)
class CallTime:
    """Seconds of one call of the function: ``call + n each`` for n copies of the batch.

    Args:
        call: that every call takes: a server that answers, say.
        per_copy: that every copy of the batch adds: a loop over rows, say.
    """

    call: float = 0.0
    per_copy: float = 0.0

    @classmethod
    def of(cls, one: float, several: float, copies: int) -> CallTime:
        """Return it from the seconds of a call with one copy and of one with several."""
        per_copy = min(max((several - one) / (copies - 1), 0.0), several / copies)
        return cls(max(one - per_copy, 0.0), per_copy)

    def seconds(self, evaluations: float, calls: float = 1.0) -> float:
        """Return what so many evaluations of the batch take, in so many calls."""
        return calls * self.call + evaluations * self.per_copy


class Pace:
    """The clock of one examination.

    Args:
        names: of the candidates; the truth comes before them, the cost after.
        tell: called with a ``Progress``.
        limit: seconds that it may take; None for no limit. Each turn gets its share of what is left.
        clock: seconds that only go on; by default the machine's.
    """

    def __init__(
        self,
        names: Sequence[str] = (),
        tell: Tell | None = None,
        limit: float | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.names = [TRUTH, *names, COST]
        self.limit = limit
        self.cuts: list[str] = []  # what the limit left out, in words
        self._tell, self._clock = tell, clock or time.perf_counter
        self._start = self._begun = self._clock()
        self._turn, self._deadline = -1, math.inf
        self._expected: list[float | None] = [None] * len(self.names)
        self._taken: list[float] = []

    @property
    def limited(self) -> bool:
        return self.limit is not None

    @property
    def left(self) -> float:
        """Seconds that are left of the limit; infinity without one."""
        return math.inf if self.limit is None else max(self.limit - (self._clock() - self._start), 0.0)

    def expect(self, truth: float, candidate: float, cost: float) -> None:
        """Say how many seconds each turn is going to take, as far as can be known."""
        self._expected = [truth, *[candidate] * (len(self.names) - 2), cost]

    def begin(self) -> None:
        """Begin the next turn."""
        now = self._clock()
        if self._turn >= 0:
            self._taken.append(now - self._begun)
        self._turn, self._begun = self._turn + 1, now
        weights = self._weights()[self._turn :]
        self._deadline = now + self.left * weights[0] / sum(weights) if weights else math.inf
        self.reached(0.0)

    def reached(self, share: float) -> None:
        """Say how much of the running turn is done."""
        if self._tell is not None and 0 <= self._turn < len(self.names):
            share = min(share, 1.0)
            self._tell(Progress(self.names[self._turn], self._turn + share, len(self.names), self._seconds_left(share)))

    def end(self) -> None:
        """Say that all is done."""
        if self._tell is not None:
            self._tell(Progress(self.names[-1], len(self.names), len(self.names), 0.0))

    def affordable(self, seconds_each: float, share: float = 1.0, fixed: float = 0.0) -> float:
        """Return how many things of so many seconds fit into a share of what is left of this turn."""
        if not self.limited:
            return math.inf
        left = share * (self._deadline - self._clock()) - fixed
        return max(left, 0.0) / max(seconds_each, 1e-9)

    def now(self) -> float:
        """Return the seconds of the clock."""
        return self._clock()

    def _weights(self) -> list[float]:
        """Of each turn: the truth gets a third of all, since every candidate is held against it."""
        candidates = len(self.names) - 2
        return [max(candidates / 2, 1.0), *[1.0] * candidates, 0.1 * max(candidates, 1)]

    def _seconds_left(self, share: float) -> float | None:
        seconds = [self._running(share), *self._later()]
        if any(one is None for one in seconds):
            return None
        return min(sum(one for one in seconds if one is not None), self.left)

    def _running(self, share: float) -> float | None:
        expected, elapsed = self._expected[self._turn], self._clock() - self._begun
        if share > 0.02:
            return elapsed * (1 - share) / share
        return None if expected is None else max(expected - elapsed, 0.0)

    def _later(self) -> list[float | None]:
        """What the turns to come take: candidates as those before them did."""
        seen = self._taken[1:]
        usual = sum(seen) / len(seen) if seen else None
        later = list(self._expected[self._turn + 1 :])
        return [usual if usual is not None and place < len(later) - 1 else one for place, one in enumerate(later)]
