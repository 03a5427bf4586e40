"""What each paper says of its toy, in our words, and whether our records say the same."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hardgrad_lab.experiments.toys import SURVEYED_INNER, SURVEYED_SAMPLES, SURVEYED_TEMPERATURES
from hardgrad_lab.experiments.toys.table import Named, mean
from hardgrad_lab.runs.records import Group
from hardgrad_lab.runs.words import NOT_RUN

HEADINGS = ("toy", "what the paper says", "ours", "")
NOTHING = -27.0  # logarithm of a variance: what is below is rounding


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A sentence of a paper, and how to see it in records.

    Args:
        task: the toy.
        says: the claim, in our words, and whose it is.
        needs: the estimators whose records it takes.
        check: returns what ours shows and whether it agrees.
    """

    task: str
    says: str
    needs: Sequence[str]
    check: Callable[[Named], tuple[str, bool]]


def judged(tasks: Mapping[str, Named]) -> list[list[str]]:
    """Return one row for each claim whose toy was run, in the order of ``HEADINGS``.

    Args:
        tasks: the groups by toy and estimator; those of the small budget count, or of the paper's where they are all.
    """
    rows = []
    for claim in CLAIMS:
        groups = tasks.get(claim.task, tasks.get(f"{claim.task}, paper"))
        if groups is None:
            continue
        missing = [name for name in claim.needs if name not in groups]
        ours, agrees = (f"{NOT_RUN}: {', '.join(missing)}", None) if missing else claim.check(groups)
        rows.append([claim.task, claim.says, ours, "" if agrees is None else "agrees" if agrees else "DIFFERS"])
    return rows


def _of(group: Group, metric: str) -> float:
    value = mean(group, metric)
    return float("nan") if value is None else value


def _found(groups: Named, *names: str) -> str:
    return ", ".join(f"{name} {100 * _of(groups[name], 'reached'):.0f} %" for name in names)


def _logs(groups: Named, *names: str) -> str:
    return ", ".join(f"{name} {_of(groups[name], 'log_variance'):.1f}" for name in names)


def _falls(groups: Named, metric: str, *names: str) -> bool:
    """Whether a metric falls from each estimator to the next."""
    values = [_of(groups[name], metric) for name in names]
    return all(later < earlier for earlier, later in itertools.pairwise(values))


def _only_unbiased(groups: Named) -> tuple[str, bool]:
    unbiased, relaxed = ("score", "rebar"), ("gumbel-soft", "gumbel-soft-0.1")
    least = min(_of(groups[name], "reached") for name in unbiased)
    most = max(_of(groups[name], "reached") for name in relaxed)
    return f"found: {_found(groups, *unbiased, *relaxed)}", least >= 0.9 and most <= 0.1


def _varies_less(*names: str) -> Callable[[Named], tuple[str, bool]]:
    def check(groups: Named) -> tuple[str, bool]:
        return f"log variance: {_logs(groups, *names)}", _falls(groups, "log_variance", *names)

    return check


def _ends_lower(*names: str) -> Callable[[Named], tuple[str, bool]]:
    """Whether the last one's loss is the lowest."""

    def check(groups: Named) -> tuple[str, bool]:
        losses = ", ".join(f"{name} {_of(groups[name], 'loss'):.5f}" for name in names)
        return f"loss: {losses}", _of(groups[names[-1]], "loss") < min(_of(groups[name], "loss") for name in names[:-1])

    return check


def _as_good_as_exact(groups: Named) -> tuple[str, bool]:
    gap = abs(_of(groups["disarm"], "best") - _of(groups["exact"], "best"))
    say = ", ".join(f"{name} {_of(groups[name], 'best'):.3f}" for name in ("exact", "disarm", "score"))
    off = abs(_of(groups["score"], "best") - _of(groups["exact"], "best"))
    return f"mean probability of the better outcome: {say}", gap < 0.02 < off


def _everywhere(better: str, other: str, counts: Sequence[int]) -> Callable[[Named], tuple[str, bool]]:
    """Whether an estimator varies less than another of as many draws, at every surveyed point but 1/2.

    There the two of an antithetic pair never agree, and what is left of one variable's variance is rounding.
    """

    def check(groups: Named) -> tuple[str, bool]:
        shares = [
            math.exp(ours["log_variance"] - theirs["log_variance"])
            for n in counts
            for record, rival in zip(groups[f"{better}-{n}"].records, groups[f"{other}-{n}"].records, strict=False)
            for ours, theirs in zip(record.curve, rival.curve, strict=True)
            if abs(ours["p1"] - 0.5) > 1e-3
        ]
        return f"its variance is {min(shares):.2f} to {max(shares):.2f} of theirs (but at 1/2)", max(shares) < 1

    return check


def gains(groups: Named, inner: int, temperature: float) -> list[tuple[dict[str, float], float]]:
    """Return the surveyed points, and by how many powers of ten Gumbel-Rao varies less there than straight-through.

    Points without any variance are left out: at its optimum the programme's loss is zero for every sample.
    """
    pairs = zip(
        groups[f"gumbel-hard-{temperature}"].records, groups[f"gumbel-rao-{inner}-{temperature}"].records, strict=False
    )
    return [
        (theirs, (theirs["log_variance"] - ours["log_variance"]) / math.log(10))
        for plain, rao in pairs
        for theirs, ours in zip(plain.curve, rao.curve, strict=True)
        if theirs["log_variance"] > NOTHING
    ]


def _over_the_simplex(groups: Named) -> tuple[str, bool]:
    most = max(SURVEYED_INNER)
    found = {t: [gain for _, gain in gains(groups, most, t)] for t in SURVEYED_TEMPERATURES}
    means = [sum(values) / len(values) for values in found.values()]
    say = "; ".join(f"{t}: {min(v):.2f} to {max(v):.2f}" for t, v in found.items())
    lower = min(value for values in found.values() for value in values) > 0
    return f"powers of ten saved, by temperature: {say}", lower and means == sorted(means, reverse=True)


_STRAIGHT = ("reinmax", "straight-through", "gumbel-hard", "gumbel-rao")


def _lowest(groups: Named) -> tuple[str, bool]:
    losses = {name: _of(groups[name], "loss") for name in ("exact", *_STRAIGHT)}
    say = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
    return f"loss: {say}", losses["reinmax"] == min(losses[name] for name in _STRAIGHT)


def _unbiased_here(groups: Named) -> tuple[str, bool]:
    value = _of(groups["reinmax"], "bias_in_errors")
    return f"bias/se {value:.2f}", value < 1.3


CLAIMS = (
    Finding(
        task="rebar",
        says="Tucker et al.: only unbiased gradients find the solution, relaxations at a fixed temperature do not",
        needs=("score", "rebar", "gumbel-soft", "gumbel-soft-0.1"),
        check=_only_unbiased,
    ),
    Finding(
        task="rebar",
        says="Tucker et al.: here a lower temperature is enough for the relaxation to come closer",
        needs=("gumbel-soft", "gumbel-soft-0.1"),
        check=_ends_lower("gumbel-soft", "gumbel-soft-0.1"),
    ),
    Finding(
        task="relax",
        says="Grathwohl et al.: RELAX learns best of the score function, REBAR and RELAX",
        needs=("score", "rebar", "relax"),
        check=_ends_lower("score", "rebar", "relax"),
    ),
    Finding(
        task="relax",
        says="Grathwohl et al.: a control of free form varies less than one bound to the loss relaxed, a quadratic",
        needs=("rebar", "relax-beside-f", "relax"),
        check=_varies_less("rebar", "relax-beside-f", "relax"),
    ),
    Finding(
        task="disarm",
        says="Dong et al.: DisARM varies less than leave-one-out on as many draws",
        needs=("score-loo", "disarm"),
        check=_varies_less("score-loo", "disarm"),
    ),
    Finding(
        task="disarm",
        says="Yin and Zhou: antithetic pairs learn as the true gradient does; the score function may go astray",
        needs=("exact", "disarm", "score"),
        check=_as_good_as_exact,
    ),
    Finding(
        task="arms",
        says="Dimitriev and Zhou: ARMS varies less than leave-one-out on as many draws",
        needs=[f"{name}-{n}" for name in ("arms", "score-loo") for n in SURVEYED_SAMPLES],
        check=_everywhere("arms", "score-loo", SURVEYED_SAMPLES),
    ),
    Finding(
        task="arms",
        says="Dimitriev and Zhou: from four draws on, ARMS varies less than as many draws in pairs (DisARM)",
        needs=[f"{name}-{n}" for name in ("arms", "disarm") for n in SURVEYED_SAMPLES[1:]],
        check=_everywhere("arms", "disarm", SURVEYED_SAMPLES[1:]),
    ),
    *(
        Finding(
            task=f"reinmax-{power}",
            says=f"Liu et al.: of the straight-through kind ReinMax ends lowest (power {power})",
            needs=("exact", *_STRAIGHT),
            check=_lowest,
        )
        for power in ("1.5", "2", "3")
    ),
    Finding(
        task="reinmax-2",
        says="Liu et al.: second order, hence without bias on a quadratic",
        needs=("reinmax",),
        check=_unbiased_here,
    ),
    Finding(
        task="gumbel-rao",
        says="Paulus et al.: less variance all over the simplex, and the more so the lower the temperature",
        needs=[
            name
            for t in SURVEYED_TEMPERATURES
            for name in (f"gumbel-hard-{t}", f"gumbel-rao-{max(SURVEYED_INNER)}-{t}")
        ],
        check=_over_the_simplex,
    ),
)
