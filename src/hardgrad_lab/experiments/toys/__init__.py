"""The published toys: what each is, who competes in it, how long it is trained. Does not import torch.

A toy is trained (the loss and the gradient's variance along the way), or surveyed: the gradient is measured at given
probabilities, and nothing is trained. Rows of a toy are independent copies of it, side by side in one batch.

Sources, where a value is not ours:
- rebar: Tucker et al. 2017 (arXiv 1703.07370), one Bernoulli variable, target 0.45.
- relax: Grathwohl et al. 2018 (arXiv 1711.00123), section 6.1, target 0.499; Adam at 0.01 for the variable and for the
  control of 10 hidden units, first temperature 0.5: the authors' program.
- disarm: Yin and Zhou 2019 (arXiv 1807.11143), section 4, taken over by Dong et al. 2020 (arXiv 2006.10680): the same
  loss is maximized, target 0.499, 3,000 steps; the step of 1 is the ARMS authors' program's.
- arms: Dimitriev and Zhou 2021 (arXiv 2105.14141), target 0.49, probabilities of 0.1 to 0.9, 2 to 10 samples.
- reinmax: Liu et al. 2023 (arXiv 2304.08612), polynomial programming: 128 two-way variables, target 0.45, powers 1.5, 2
  and 3; batch 64, 40 times 200 steps of Adam at 0.001, logits from U(-0.01, 0.01): the authors' program.
- gumbel-rao: Paulus et al. 2020 (arXiv 2010.04838), section 5.2, a quadratic programme on the simplex.
"""

from __future__ import annotations

from typing import Any

from hardgrad_lab.experiments.toys.config import Toy
from hardgrad_lab.runs.experiment import Experiment

_SCORE: dict[str, dict[str, Any]] = {
    "score": {"estimator": "score_function"},
    "score-average": {"estimator": "score_function", "baseline": "moving-average"},
    "score-network": {"estimator": "score_function", "baseline": "network"},
    "score-loo": {"estimator": "score_function", "baseline": "leave-one-out", "samples": 2},
}
_PAIRED: dict[str, dict[str, Any]] = {"disarm": {"estimator": "disarm"}, "arms": {"estimator": "arms", "samples": 4}}
# rebar and relax learn their temperature from 0.5 on, as their authors' program does.
_CONTROLLED: dict[str, dict[str, Any]] = {
    "rebar": {"estimator": "rebar", "temperature": 0.5},
    "relax": {"estimator": "relax", "temperature": 0.5},
    "relax-beside-f": {"estimator": "relax", "temperature": 0.5, "beside_f": True},
}
_COIN: dict[str, dict[str, Any]] = {
    "exact": {"estimator": "exact"},
    **_SCORE,
    **_PAIRED,
    **_CONTROLLED,
    "reinmax": {"estimator": "reinmax"},
    "straight-through": {"estimator": "straight_through"},
    "gumbel-soft": {"estimator": "gumbel", "hard": False, "temperature": 0.5},
    "gumbel-soft-0.1": {"estimator": "gumbel", "hard": False, "temperature": 0.1},
    "gumbel-annealed": {"estimator": "gumbel", "hard": False, "last_temperature": 0.1},
    "gumbel-hard": {"estimator": "gumbel", "temperature": 0.5},
    "gumbel-rao": {"estimator": "gumbel_rao", "temperature": 0.5, "inner": 10},
    "bridge": {"estimator": "bridge"},
}
_COINS: dict[str, dict[str, Any]] = {
    "exact": {"estimator": "exact"},
    "score": _SCORE["score"],
    "score-loo": _SCORE["score-loo"],
    "reinmax": {"estimator": "reinmax"},
    "straight-through": {"estimator": "straight_through"},
    "gumbel-hard": {"estimator": "gumbel"},
    "gumbel-rao": {"estimator": "gumbel_rao", "inner": 10},
}
SURVEYED_SAMPLES = (2, 4, 6, 8, 10)
_ARMS: dict[str, dict[str, Any]] = {
    **{f"score-loo-{n}": {**_SCORE["score-loo"], "samples": n} for n in SURVEYED_SAMPLES},
    **{f"disarm-{n}": {"estimator": "disarm", "samples": n // 2} for n in SURVEYED_SAMPLES},
    **{f"arms-{n}": {"estimator": "arms", "samples": n} for n in SURVEYED_SAMPLES},
}
SURVEYED_TEMPERATURES = (0.1, 0.5, 1.0)
SURVEYED_INNER = (1, 10, 100)
_RAO: dict[str, dict[str, Any]] = {
    **{f"gumbel-hard-{t}": {"estimator": "gumbel", "temperature": t} for t in SURVEYED_TEMPERATURES},
    **{
        f"gumbel-rao-{k}-{t}": {"estimator": "gumbel_rao", "temperature": t, "inner": k}
        for k in SURVEYED_INNER
        for t in SURVEYED_TEMPERATURES
    },
}

_TRAINED = {"problem": "coin", "rows": 20, "evaluations": 50, "draws": 1000}
# A quarter of the published steps, four times as wide: the logits get as far.
_POLYNOMIAL: dict[str, Any] = {
    "problem": "coins", "target": 0.45, "rows": 1, "units": 128, "batch": 64, "steps": 2_000, "lr": 0.004,
    "evaluations": 40, "draws": 200,
}  # fmt: skip
TASKS: dict[str, dict[str, Any]] = {
    "rebar": {**_TRAINED, "target": 0.45, "steps": 5_000},
    "relax": {**_TRAINED, "target": 0.499, "steps": 10_000},
    "disarm": {**_TRAINED, "target": 0.499, "maximize": True, "steps": 3_000, "optimizer": "sgd", "lr": 1.0},
    "arms": {
        "problem": "coin", "target": 0.49, "maximize": True, "rows": 17, "steps": 0, "evaluations": 1, "draws": 20_000,
    },
    "reinmax-1.5": {**_POLYNOMIAL, "power": 1.5},
    "reinmax-2": {**_POLYNOMIAL, "power": 2.0},
    "reinmax-3": {**_POLYNOMIAL, "power": 3.0},
    "gumbel-rao": {"problem": "simplex", "target": 1 / 3, "rows": 10, "steps": 0, "evaluations": 1, "draws": 2_000},
}  # fmt: skip
CONTESTANTS: dict[str, dict[str, dict[str, Any]]] = {  # those of each toy
    "rebar": _COIN,
    "relax": _COIN,
    "disarm": {"exact": _COIN["exact"], **_SCORE, **_PAIRED, **_CONTROLLED},
    "arms": _ARMS,
    "reinmax-1.5": _COINS,
    "reinmax-2": _COINS,
    "reinmax-3": _COINS,
    "gumbel-rao": _RAO,
}
POLYNOMIALS = ("reinmax-1.5", "reinmax-2", "reinmax-3")
EVERY: dict[str, dict[str, Any]] = {name: {} for contestants in CONTESTANTS.values() for name in contestants}
SURVEY: dict[str, Any] = {"steps": 0, "lr": 0.01}  # what stays one, whatever is asked for: no step is taken

TOYS = Experiment(
    name="toys",
    about="Run every Monte Carlo gradient on the toy that its paper shows, and measure it against enumeration.",
    source="the papers on Monte Carlo gradients, each on its own toy",
    config=Toy,
    program="hardgrad_lab.experiments.toys.run",
    tasks=TASKS,
    contestants=EVERY,
    own={
        (task, name): {**values, **({} if TASKS[task]["steps"] else SURVEY)}
        for task, contestants in CONTESTANTS.items()
        for name, values in contestants.items()
    },
    without=[(task, name) for task in TASKS for name in EVERY if name not in CONTESTANTS[task]],
    # Small is as published but for the polynomials, which take a quarter of the steps.
    budgets={"smoke": {"steps": 20, "rows": 3, "evaluations": 2, "draws": 50}},
    special={("paper", task): {"steps": 8_000, "lr": 0.001} for task in POLYNOMIALS},
    seeds={"smoke": 1, "small": 1, "paper": 1},
    keys={"maximize": "maximise", "learned_lr": "learnt_lr"},
    sections="hardgrad_lab.experiments.toys.sections:in_brief",
    page="hardgrad_lab.experiments.toys.sections:page",
    brief=True,
)
