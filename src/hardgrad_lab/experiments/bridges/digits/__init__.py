"""Four-digit numbers of MNIST, scored by a small network that is shown the order of each few of them and no number.

A picture is four digits side by side. Measured on sequences of test digits: how often the whole order is right, and how
often one picture's rank is. A relaxed permutation learns by its cross-entropy with the true one, as in both papers;
ranks, relaxed or exact with a lent gradient, by their squared error; ``pairs`` is the logistic loss of all pairs, which
needs no sort. The network has two convolutions and two dense layers, on pictures of half the side; it is smaller than
the published one at any width, and ``small`` has 500 steps of 32 sequences in place of 100,000 of 100.

Sources: Grover et al. 2019 (arXiv 1903.08850), section 6.1, table 1 of the conference version; Petersen et al. 2021
(arXiv 2105.04019) for the measures; Burges et al. 2005 for pairs.
"""

from __future__ import annotations

from hardgrad_lab.experiments.bridges.trial import Trial
from hardgrad_lab.runs.experiment import Ask, Experiment, Part
from hardgrad_lab.runs.published import Claim, Metric, Published

# Permutahedron has ranks and no permutation. exact- is exact ranks with soft ones' gradient, at a relative temperature.
METHODS = ("laplace", "softsort", "neuralsort", "network", "permutahedron")
GRADIENTS = (*METHODS, *(f"exact-{name}" for name in METHODS), "bridge", "pairs")
TABLE = {"3": (0.930, 0.951), "5": (0.837, 0.927), "7": (0.738, 0.909), "9": (0.649, 0.896)}  # deterministic

DIGITS = Experiment(
    name="digits",
    about="Learn to read four-digit numbers of MNIST from the order of every few of them.",
    source="Grover et al. 2019, table 1",
    config=Trial,
    program="hardgrad_lab.experiments.bridges.drawn",
    common={"softness": 1.0, "lr": 0.005},
    tasks={name: {"size": int(name)} for name in TABLE},
    contestants={name: {"softness": 2.0} if name.startswith("exact-") else {} for name in GRADIENTS},
    budgets={
        "smoke": {"width": 4, "steps": 4, "batch": 8, "test_rows": 32, "evaluations": 2},
        "small": {"width": 8, "steps": 500, "batch": 32, "test_rows": 2_000, "evaluations": 8},
        "paper": {"width": 32, "steps": 100_000, "batch": 100, "test_rows": 10_000, "evaluations": 50},
    },
    planned={"smoke": ["5"]},
    ask=Ask(usual={"task": ("5",)}),
    seeds={"smoke": 1, "small": 3, "paper": 5},
    metrics=[
        Metric(name="exact", title="orders right", form=".1%"), Metric(name="element", title="ranks right", form=".1%"),
    ],
    published={
        (task, "neuralsort"): {
            name: Published(value=value, source="table 1")
            for name, value in zip(("exact", "element"), values, strict=True)
        }
        for task, values in TABLE.items()
    },
    claims=[
        Claim(says=says, source=source, task="5", metric="exact", better=better, worse=worse, aside=["softness", "lr"])
        for says, source, better, worse in (
            ("a sorting network is better than NeuralSort", "arXiv 2105.04019, 5.1.1", "network", "neuralsort"),
            ("a relaxed permutation is better than exact ranks", "ours", "laplace", "exact-laplace"),
            ("a soft twin of ranks is better than a bridge", "ours", "exact-laplace", "bridge"),
        )
    ],
    parts=[Part(anchor="digits", title="The order of four-digit numbers")],
    brief=True,
)  # fmt: skip
