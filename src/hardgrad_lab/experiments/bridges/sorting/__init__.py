"""Neural sorting: the configuration, its presets, and the published numbers.

A network reads T numbers drawn from U(0, 1) and says, for every place of the sorted order, which of them stands
there. The figure of merit is all-or-none: one misplaced number fails the whole sequence. This module does not import
torch, so that the command line and the report may read it at once.

Source: Ramapuram and Webb 2020 (arXiv 1905.03658), sections IV-A and IV-B, table II, figures 4 to 6, appendix C; the
details that the paper leaves out are those of the authors' published program.
"""

from __future__ import annotations

from collections.abc import Sequence

from hardgrad_lab.experiments.bridges.sorting.config import SYSTEMS, Sorting, label, of_budget
from hardgrad_lab.runs.experiment import Ask, Experiment, Part
from hardgrad_lab.runs.published import Claim, Metric, Published
from hardgrad_lab.runs.records import Group


def not_pondering(groups: Sequence[Group]) -> list[Group]:
    """Return the runs that did not ponder."""
    return [group for group in groups if not group.config.get("ponder")]


def beside_pondering(groups: Sequence[Group]) -> list[Group]:
    """Return the runs of the lengths at which something pondered."""
    lengths = {group.config["task"] for group in groups if group.config.get("ponder")}
    return [group for group in groups if group.config["task"] in lengths]


ACCURACY = Metric(name="accuracy", title="all-or-none accuracy", form=".2%")
BEST = Metric(name="best_accuracy", title="best all-or-none accuracy", form=".2%")
_TABLE, _TEXT = "table II", "section IV-A"
# The paper's percentages by the length: mean and, where they are given, spread over five runs.
_PRINTED: dict[str, dict[int, tuple[float, ...]]] = {
    "elu-dense": {5: (86.46, 4.7), 10: (0.0, 0.0), 15: (0.0, 0.0)},
    "pointer": {5: (90.0,), 10: (28.0,), 15: (4.0,)},
    "read-process-write": {5: (94.0,), 10: (57.0,), 15: (10.0,)},
    "signum-rnn": {5: (99.3, 0.09), 10: (92.4, 0.36), 15: (87.2, 0.3)},
    "signum-dense": {5: (99.3, 0.25), 10: (94.2, 0.1), 15: (79.8, 0.8)},
    "tanh-dense": {5: (99.3,), 10: (88.3,), 15: (1.9,)},
}


def _published(system: str, mean: float, spread: float | None = None) -> Published:
    return Published(
        value=mean / 100,
        spread=None if spread is None else spread / 100,
        replications=None if spread is None else 5,
        source=_TEXT if system == "tanh-dense" else _TABLE,
    )


PUBLISHED = {
    (str(length), system): {"accuracy": _published(system, *printed)}
    for system, lengths in _PRINTED.items()
    for length, printed in lengths.items()
}
# Section IV-A: signum-dense against the network that differs from it in the activation alone.
_RIVALS = {"elu-dense": f"{_TEXT} and {_TABLE}", "tanh-dense": _TEXT}
LENGTHS = ("5", "10", "15")

SORTING = Experiment(
    name="sorting",
    about="Sort T numbers drawn from U(0, 1): a network says which of them stands at each place of their order. A row "
    "counts as right only if every place is.",
    source="Ramapuram and Webb 2020, table II and figure 6",
    config=Sorting,
    program="hardgrad_lab.experiments.bridges.sorting.run",
    tasks={length: {} for length in LENGTHS},
    contestants=SYSTEMS,
    planned={"smoke": ("5",), "small": ("5", "10")},
    seeds={"smoke": 1, "small": 3, "paper": 5},
    maker=of_budget,
    names=("length", "system"),
    keys={"task": "length", "contestant": "system", "budget": "setting", "center_inputs": "centre_inputs"},
    later={"hidden": (), "precision": "float32"},
    kept_budgets={"fast": "small", "published": "paper"},
    columns=["samples"],
    label=label,
    ask=Ask(
        options={"task": "length", "contestant": "system"},
        usual={"task": ["5"], "contestant": ["signum-dense"]},
        seeds=1,
        any_task=True,
    ),
    metrics=[ACCURACY],
    published=PUBLISHED,
    claims=[
        Claim(
            says=f"signum-dense sorts better than {rival}",
            source=source,
            task=length,
            metric="accuracy",
            better="signum-dense",
            worse=rival,
        )
        for rival, source in _RIVALS.items()
        for length in LENGTHS
    ],
    figures="hardgrad_lab.experiments.bridges.sorting.figures:draw",
    parts=[
        Part(
            anchor="table-ii",
            title="Table II: neural sorting",
            select=not_pondering,
            command="reproduce sorting --system signum-dense --length 10",
        ),
        Part(
            anchor="figure-6",
            title="Figure 6: pondering in neural sorting",
            select=beside_pondering,
            command="reproduce sorting --system signum-rnn --length 5 --ponder 5",
            changes={
                "about": "Extra steps of the LSTM without input before it answers. The paper: they help, up to five. "
                "Ours are of a million samples a run, a twelfth of table II's.",
                "contestants": {"signum-rnn": SYSTEMS["signum-rnn"]},
                "metrics": [BEST],
                "published": {},
                "claims": [],
                "figures": "hardgrad_lab.experiments.bridges.sorting.figures:draw_pondering",
            },
        ),
    ],
)
