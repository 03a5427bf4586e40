"""Table V and figure 9: a density model of binary pictures whose 200 latent variables are bits.

A variational autoencoder with one hidden ReLU layer in the encoder and one in the decoder. Nothing smooth leads through
its bits, so each contestant is another way to get a gradient through them; all else is the same for all: network,
start, batches, optimiser, epochs, and how often the decoder is run for each row in a step: twice, for ARMS four times.

- **Rows.** The paper does not say which binarization or which split it had. ``mnist-static`` is that of Salakhutdinov
  and Murray, drawn once for everybody; ``mnist-dynamic`` and ``omniglot-dynamic`` draw each pixel anew at every visit;
  ``omniglot-threshold`` cuts at one half. Trained on ``fit`` (MNIST 50,000 rows, Omniglot 23,000), measured on all of
  ``test`` (10,000 and 8,070): the customary rows. ``valid`` is not used. Table V is set beside ``mnist-static`` and
  ``omniglot-dynamic``. Bounds under one binarization are not bounds under another.
- **Network.** 784 - 200 ReLU - 200 bits - 200 ReLU - 784; the paper says "a single hidden layer model with ReLU
  activations" and no width. The encoder sees pixels less their training mean, the decoder sees bits as -1 and 1, and
  its last bias starts at the log-odds of that mean.
- **Bridges.** ``bridge`` is the paper's: its approximator sees the probabilities of the bits. It is fitted to the
  sampler before the run, which the paper does not say: unfitted, 4 of 6 seeds began with a slope below zero, their bits
  lost touch with the picture, and 400 steps later none of them had begun to learn. ``bridge-noise`` is ours: a bridge
  over the threshold that turns log-odds plus logistic noise into bits, so that it sees what decides each bit.
- **Second order.** Over drawn bits ``bridge`` can learn no more than the mean: it is straight-through with a learned
  slope, and ends where that does. ``second_order`` has what could be more, and ReinMax with less noise.
- **Bound.** ``bound`` is the mean over test rows of E_q log p(x|b) - KL(q(b|x) || p(b)) in nats, larger being better,
  with q the distribution that the bits are drawn from and its KL in closed form. The paper's equation 3 has the KL of
  the approximator's output instead, which is not a bound on anything: ``kl="published"`` trains by it, and is measured
  by the honest bound like everybody.
- **Budgets.** ``paper`` has the paper's constant rate of 3e-4 and its epochs; the batch of 100 is ours. ``small`` has
  30 epochs at ten times that rate, rising and falling (one-cycle), as picked for ``bridge`` in a few short runs: with
  1e-3 its bound was 4.6 nats lower after 8 epochs, with 1e-2 0.8 nats higher after 4.
- **Choice.** The paper reports the best test bound along the run; that is ``best_bound`` here, and ``bound`` is the
  last one, which nobody chose.

Source: Ramapuram and Webb 2020 (arXiv 1905.03658), section IV-D, equation 3, table V, figure 9. Its numbers for REBAR
and RELAX are those papers' own, with their networks, rates and numbers of epochs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hardgrad_lab.runs.experiment import Budget, Experiment, Part
from hardgrad_lab.runs.options import require
from hardgrad_lab.runs.published import Claim, Metric, Published
from hardgrad_lab.runs.schedule import Schedule

Estimator = Literal[
    "bridge",
    "bridge-noise",
    "bridge-half-way",
    "bridge-averaged",
    "bridge-control",
    "rebar",
    "relax",
    "gumbel",
    "score-loo",
    "disarm",
    "reinmax",
    "reinmax-pairs",
    "reinmax-control",
    "arms",
    "straight-through",
    "gumbel-hard",
]


@dataclass(frozen=True, kw_only=True)
class Density:
    """One configuration of the density model, seed apart.

    Args:
        task: the pictures and how they became binary.
        contestant: how the gradient gets through the bits.
        budget: the preset the other values started from.
        pictures: mnist or omniglot.
        binarization: static, dynamic or threshold.
        estimator: the Monte Carlo gradient.
        hidden: units of the hidden layer, in encoder and decoder.
        latents: bits.
        prior: learnt is one probability a bit, trained with the rest, as in REBAR's program; half is 0.5.
        evaluations: decoder runs for each row in a step, even. Estimators at hard bits draw so many; DisARM draws
            pairs; REBAR and RELAX run it at hard and at relaxed bits.
        kl: sampler is that of the distribution the bits are drawn from; published, for bridges alone, is that of the
            approximator's output, cut off to lie between 0 and 1.
        gamma: weight of the bridge's penalty.
        approximator: elementwise is one network of one hidden layer for every bit; mlp sees all of them at once.
        approximator_width: hidden units of the elementwise one.
        fitting: steps that the approximator of bridge is fitted, before the run, to draws at probabilities all over
            (0, 1); without any its slope may start below zero, which no step mends.
        temperature: of the relaxation at the beginning, where there is one.
        last_temperature: of Gumbel's relaxation at the end; it falls exponentially from temperature.
        control_lr: learning rate of what an estimator learns besides (approximator, control), as a multiple of lr.
        epochs: passes over the training rows.
        batch: rows in a step.
        lr: Adam's learning rate, the peak of the schedule.
        schedule: of the learning rate.
        rows: training rows at most; 0 is all of them.
        test_rows: rows measured of the test set and, as many, of the training rows; 0 is all, and 10,000.
        evaluations_of_curve: measurements along the run.
        draws: draws a row in the last measurement of the test rows, a tenth of it for training rows; also those of the
            bound of several draws. Along the run it is one.
    """

    task: str
    contestant: str
    budget: Budget
    pictures: Literal["mnist", "omniglot"]
    binarization: Literal["static", "dynamic", "threshold"]
    estimator: Estimator
    hidden: int
    latents: int
    prior: Literal["learnt", "half"]
    evaluations: int
    kl: Literal["sampler", "published"]
    gamma: float
    approximator: Literal["elementwise", "mlp"]
    approximator_width: int
    fitting: int
    temperature: float
    last_temperature: float
    control_lr: float
    epochs: int
    batch: int
    lr: float
    schedule: Schedule
    rows: int
    test_rows: int
    evaluations_of_curve: int
    draws: int

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name in ("hidden", "latents", "approximator_width", "epochs", "batch", "evaluations_of_curve", "draws"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        for name in ("temperature", "last_temperature", "control_lr", "lr"):
            require(getattr(self, name) > 0, name, "greater than 0", getattr(self, name))
        for name in ("rows", "test_rows", "gamma", "fitting"):
            require(getattr(self, name) >= 0, name, "at least 0", getattr(self, name))
        even = self.evaluations >= 2 and self.evaluations % 2 == 0
        require(even, "evaluations", "even and at least 2, for estimators that come in pairs", self.evaluations)
        require(self.kl == "sampler" or self.estimator == "bridge", "kl", "sampler for all but bridges", self.kl)


PUBLISHED_TASKS = ("mnist-static", "omniglot-dynamic")
MNIST = {"bridge": (-109.59, 9933), "rebar": (-111.12, 331), "relax": (-119.19, None)}
OMNIGLOT = {"bridge": (-125.19, 2366), "rebar": (-127.51, 368), "relax": (-128.20, None)}


def _published(bound: float, epochs: int | None) -> dict[str, Published]:
    said = {"best_bound": Published(value=bound, source="table V")}
    return said if epochs is None else {**said, "best_epoch": Published(value=epochs, source="table V")}


def _claims(task: str) -> list[Claim]:
    """Return what the paper says of one set of pictures."""
    names = {"bridge": "DAB", "rebar": "REBAR", "relax": "RELAX"}
    order = [("bridge", "rebar"), ("bridge", "relax"), ("rebar", "relax")]
    bounds = [("best_bound", "table V", "{} reaches a higher test bound than {}", *pair) for pair in order]
    says = "{}'s bound falls less from training to test rows than {}'s: 1-2 nats against 5-10"
    gaps = [("gap", "section IV-D", says, *pair) for pair in order[:2]]
    return [
        Claim(
            says=says.format(names[one], names[other]), source=source, task=task, metric=metric, better=one, worse=other
        )
        for metric, source, says, one, other in bounds + gaps
    ]


# No number or claim of the paper's is about these: they are run where they are asked for.
OURS = (
    *("bridge-published-kl", "bridge-half-way", "bridge-averaged", "bridge-control"),
    *("gumbel-hard", "arms", "reinmax-pairs", "reinmax-control"),
)
ABOUT = "Model the density of binary pictures with 200 latent bits, by every gradient that gets through them."
LEARNS = (
    "On drawn bits the best imitation in squared error is the mean, so the published bridge can learn no more than "
    "straight-through has, and at equal epochs ends where straight-through does. A bridge that sees the noise, and "
    "lends the mean of its slope over the noise that gives the same bit, is right to second order, as ReinMax is."
)

DENSITY = Experiment(
    name="density",
    about=ABOUT,
    source="Ramapuram and Webb 2020, table V and figure 9",
    config=Density,
    program="hardgrad_lab.experiments.bridges.density.run",
    figures="hardgrad_lab.experiments.bridges.density.figures:draw",
    parts=[
        Part(
            anchor="table-v",
            title="Table V and figure 9: density of binary pictures",
            changes={"about": f"{ABOUT} {LEARNS}"},
        )
    ],
    common={
        "hidden": 200,
        "latents": 200,
        "prior": "learnt",
        "evaluations": 2,
        "kl": "sampler",
        "gamma": 10.0,
        "approximator": "elementwise",
        "approximator_width": 8,
        "fitting": 300,
        "temperature": 0.5,
        "last_temperature": 0.5,
        "control_lr": 1.0,
        "batch": 100,
        "lr": 3e-4,
        "schedule": "constant",
        "rows": 0,
        "test_rows": 0,
        "evaluations_of_curve": 50,
        "draws": 100,
    },
    tasks={
        "mnist-static": {"pictures": "mnist", "binarization": "static"},
        "mnist-dynamic": {"pictures": "mnist", "binarization": "dynamic"},
        "omniglot-dynamic": {"pictures": "omniglot", "binarization": "dynamic"},
        "omniglot-threshold": {"pictures": "omniglot", "binarization": "threshold"},
    },
    contestants={
        "bridge": {"estimator": "bridge"},
        "bridge-published-kl": {"estimator": "bridge", "kl": "published"},
        "bridge-noise": {"estimator": "bridge-noise", "kl": "sampler"},
        "bridge-half-way": {"estimator": "bridge-half-way", "kl": "sampler", "approximator": "elementwise"},
        "bridge-averaged": {"estimator": "bridge-averaged", "kl": "sampler", "approximator": "elementwise"},
        "bridge-control": {"estimator": "bridge-control", "kl": "sampler"},
        "rebar": {"estimator": "rebar", "kl": "sampler"},
        "relax": {"estimator": "relax", "kl": "sampler"},
        "gumbel": {"estimator": "gumbel", "kl": "sampler", "temperature": 1.0},
        "gumbel-hard": {"estimator": "gumbel-hard", "kl": "sampler", "temperature": 1.0},
        "score-loo": {"estimator": "score-loo", "kl": "sampler"},
        "disarm": {"estimator": "disarm", "kl": "sampler"},
        "arms": {"estimator": "arms", "kl": "sampler", "evaluations": 4},
        "reinmax": {"estimator": "reinmax", "kl": "sampler", "temperature": 1.0},
        "reinmax-pairs": {"estimator": "reinmax-pairs", "kl": "sampler"},
        "reinmax-control": {"estimator": "reinmax-control", "kl": "sampler"},
        "straight-through": {"estimator": "straight-through", "kl": "sampler"},
    },
    budgets={
        "smoke": {
            "epochs": 2,
            "rows": 400,
            "test_rows": 100,
            "evaluations_of_curve": 2,
            "draws": 5,
            "hidden": 32,
            "latents": 20,
            "batch": 20,
            "lr": 3e-3,
            "fitting": 50,
        },
        "small": {
            "epochs": 30,
            "lr": 3e-3,
            "schedule": "one-cycle",
            "control_lr": 3.0,
            "evaluations_of_curve": 15,
        },
        "paper": {"epochs": 9933},
    },
    special={("paper", "omniglot-dynamic"): {"epochs": 2366}, ("paper", "omniglot-threshold"): {"epochs": 2366}},
    planned=dict.fromkeys(("smoke", "small", "paper"), PUBLISHED_TASKS),
    unplanned=[("small", task, name) for task in PUBLISHED_TASKS for name in OURS],
    seeds={"smoke": 1, "small": 1, "paper": 5},
    metrics=[
        Metric(name="best_bound", title="best test bound, nats", form=".2f"),
        Metric(name="best_epoch", title="at epoch", form=".0f", better=None),
        Metric(name="bound", title="last test bound, nats", form=".2f"),
        Metric(name="several_draws_bound", title="bound of many draws, nats", form=".2f"),
        Metric(name="train_bound", title="last train bound, nats", form=".2f"),
        Metric(name="gap", title="train less test, nats", form=".2f", better="less"),
    ],
    published={
        (task, name): _published(*numbers)
        for task, table in zip(PUBLISHED_TASKS, (MNIST, OMNIGLOT), strict=True)
        for name, numbers in table.items()
    },
    because={(task, "bridge"): "over drawn bits a bridge learns no more than a slope" for task in PUBLISHED_TASKS},
    claims=[claim for task in PUBLISHED_TASKS for claim in _claims(task)],
)
