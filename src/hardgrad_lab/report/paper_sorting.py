"""Table II and figure 6 as sections: sorting came before experiments were described, and has a shape of its own."""

from __future__ import annotations

from collections.abc import Sequence

from hardgrad_lab.drawing.section import FIGURE_ONLY, Drawing, Section
from hardgrad_lab.experiments.bridges.sorting import PUBLISHED, SYSTEMS
from hardgrad_lab.experiments.bridges.sorting.figures import curves, ponders
from hardgrad_lab.report import experiment_claims as claims
from hardgrad_lab.report.sorting import CURVES, CURVES_CAPTION, PONDERING, PONDERING_CAPTION, fault
from hardgrad_lab.report.sorting_table import (
    HEADINGS,
    NUMERIC,
    describe_setting,
    ordered,
    published_text,
    rows,
)
from hardgrad_lab.runs.judge import UNEQUAL, compare, equal_pairs, sides_of
from hardgrad_lab.runs.published import Metric, Published
from hardgrad_lab.runs.records import Found, Group, group_by_config
from hardgrad_lab.runs.words import NO_FIGURE, NOT_RUN, mean, say_mean

ACCURACY = Metric(name="accuracy", title="all-or-none accuracy", form=".2%")
BEST = Metric(name="best_accuracy", title="best all-or-none accuracy", form=".2%")
LENGTHS = (5, 10, 15)
# Section IV-A: signum-dense against the network that differs from it in the activation alone.
RIVALS = {"elu-dense": "section IV-A and table II", "tanh-dense": "section IV-A"}
LEGEND = "* from section IV-A, not table II. A row of T numbers counts as right only if every place is."


def table_ii(found: Found) -> Section:
    """Return neural sorting beside table II; runs that pondered are figure 6's."""
    records, warnings = found.of("sorting", fault)
    groups = ordered([each for each in group_by_config(records) if not each.config["ponder"]])
    cells = [[*row.cells()[:-1], _mark(group)] for row, group in zip(rows(groups), groups, strict=True)]
    run = {(group.config["system"], group.config["length"]) for group in groups}
    cells += [
        [str(length), system, NO_FIGURE, published_text(system, length), NO_FIGURE, "0", NO_FIGURE, NO_FIGURE, NOT_RUN]
        for system, length in PUBLISHED
        if (system, length) not in run
    ]
    cells.sort(key=lambda row: (int(row[0]), list(map(str, SYSTEMS)).index(row[1])))
    return Section(
        anchor="table-ii",
        title="Table II: neural sorting",
        about="A network reads T numbers drawn from U(0, 1) and says which stands at each place of their order.",
        command="reproduce sorting --system signum-dense --length 10",
        headings=HEADINGS,
        numeric=NUMERIC,
        cells=cells,
        legend=LEGEND,
        claims=[_claim(groups, length, rival, source) for rival, source in RIVALS.items() for length in LENGTHS],
        claim_headings=claims.HEADINGS,
        claim_legend=claims.LEGEND,
        drawn=[Drawing(name="sorting", title=CURVES, caption=CURVES_CAPTION, figure=curves(groups))] if groups else [],
        warnings=warnings,
        groups=groups,
        standings=[_standing(groups, system, length) for system, length in PUBLISHED],
    )


def figure_6(found: Found) -> Section:
    """Return what pondering changes, as figure 6 does; the records are those of ``--ponder``."""
    records, _ = found.of("sorting", fault)  # table II has their warnings
    everything = [each for each in group_by_config(records) if each.config["system"] == "signum-rnn"]
    lengths = {group.config["length"] for group in everything if group.config["ponder"]}
    groups = ordered([each for each in everything if each.config["length"] in lengths])
    figure = ponders(groups)
    drawn = (
        [] if figure is None else [Drawing(name="ponder", title=PONDERING, caption=PONDERING_CAPTION, figure=figure)]
    )
    return Section(
        anchor="figure-6",
        title="Figure 6: pondering in neural sorting",
        about="Extra steps of the LSTM without input before it answers. The paper: they help, up to five.",
        command="reproduce sorting --system signum-rnn --length 5 --ponder 5",
        headings=("T", "ponder steps", "setting", "best accuracy", "n", "samples"),
        numeric=(0, 1, 3, 4, 5),
        cells=[_pondered(group) for group in groups],
        legend="Best accuracy of a run, mean ± sample standard deviation, as in the paper's figure.",
        drawn=drawn,
        notes=[f"{FIGURE_ONLY[0].upper()}{FIGURE_ONLY[1:]} in the paper.", *([] if groups else ["Not run."])],
        groups=groups,
    )


def _published(system: str, length: int) -> Published | None:
    """Return a number of table II as a share of one, as the records have it."""
    found = next((each for key, each in PUBLISHED.items() if key == (system, length)), None)
    if found is None:
        return None
    spread = None if found.spread is None else found.spread / 100
    return Published(value=found.accuracy / 100, spread=spread, replications=found.replications, source=found.source)


def _mark(group: Group) -> str:
    number, ours = _published(group.config["system"], group.config["length"]), mean(group, "accuracy")
    return "" if number is None or ours is None else compare(ACCURACY, ours, number)


def _standing(groups: Sequence[Group], system: str, length: int) -> str:
    """Return how ours stands at the most samples, of these as the preset has it, of these with the most runs."""
    mine = _of(groups, system, length)
    group = max(mine, key=lambda each: (_samples(each), "," not in describe_setting(each), each.n), default=None)
    return NOT_RUN if group is None else _mark(group)


def _of(groups: Sequence[Group], system: str, length: int) -> list[Group]:
    return [each for each in groups if (each.config["system"], each.config["length"]) == (system, length)]


def _samples(group: Group) -> int:
    return int(group.config["samples"])


def _claim(groups: Sequence[Group], length: int, rival: str, source: str) -> list[str]:
    said = [f"signum-dense sorts better than {rival}", source, f"T = {length}, accuracy"]
    sides = [_of(groups, name, length) for name in ("signum-dense", rival)]
    missing = [name for name, found in zip(("signum-dense", rival), sides, strict=True) if not found]
    if missing:
        return [*said, "-", "-", "-", f"{NOT_RUN}: {', '.join(missing)}"]
    pairs = equal_pairs(sides[0], sides[1], {"system"})
    if not pairs:
        return [*said, "-", "-", "-", UNEQUAL]
    pair = max(pairs, key=lambda pair: (_samples(pair[0]), min(each.n for each in pair)))
    return [*said, describe_setting(pair[0]), *sides_of(pair, ACCURACY, "system")]


def _pondered(group: Group) -> list[str]:
    config = group.config
    best = say_mean(mean(group, BEST.name), BEST.form)
    return [str(config["length"]), str(config["ponder"]), describe_setting(group), best, str(group.n), _seen(group)]


def _seen(group: Group) -> str:
    return f"{_samples(group) / 1e6:.3g} M"
