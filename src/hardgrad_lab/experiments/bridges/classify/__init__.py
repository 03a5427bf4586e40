"""Table VI: CIFAR-10 with a hard function as the last activation of a convolutional network.

The paper puts identity, signum, sort, top-k or k-means after the fourth stage of a ResNet-18 and trains through a
bridge. It gives Adam at 1e-4, batches of 128, ELU, batch normalization and gamma 10. It does not give, and we chose:

- epochs: 200 in ``paper``, at that constant rate. Pictures are moved and mirrored, as in He et al., section 4.2.
- rows and columns: those of each channel's own 4x4 map, so 16 values become 32. Top-k keeps the 16 largest of those
  32. K-means clusters the 16 places of a picture, points of as many features as channels, and puts each place's center
  there. Sort-1D orders all values of a picture and lays them out as a map again.
- the last layer sees every value (``flat``). The customary one sees each channel's mean (``pooled``), and the mean of
  a sorted map is that of the unsorted; so is, once Lloyd's algorithm has settled, that of a clustered one. Behind a
  pooled head sort and k-means would change the gradient alone, and not one prediction.

``small`` is the fast setting: another network (``fast.py``), all rows, minutes on one core.
Its four stages are the whitening convolution and three blocks; the last has 4x4 maps, too.

Contestants whose names end in ``straight-through`` copy the gradient past the layer, which takes equal shapes; those in
``exact`` have autograd's own, which sorting has wherever no two values are equal.

Source: Ramapuram and Webb 2020 (arXiv 1905.03658), section IV-E, table VI, appendix C; the network after He, Zhang,
Ren and Sun 2016 (arXiv 1512.03385), with a first convolution for pictures of 32x32.
"""

from __future__ import annotations

from hardgrad_lab.experiments.bridges.classify.config import BUDGETS, COMMON, LATER, Classification
from hardgrad_lab.runs.experiment import Experiment, Part
from hardgrad_lab.runs.published import Claim, Metric, Published

ACCURACY = Metric(name="accuracy", title="test accuracy", form=".2%")
MIRRORED = Metric(name="mirrored_accuracy", title="judged with its mirror image", form=".2%")
# What the gradient is without a bridge: copied where shapes are equal, else autograd's own.
RIVALS = {"signum": "straight-through", "k-means": "straight-through", "sort": "exact", "top-k": "exact"}
RELATIVE_ERROR = Metric(name="relative_error", title="relative error of the bridge", form=".3f", better="less")

CLASSIFY = Experiment(
    name="classify",
    about="Classify CIFAR-10 by a network whose last activation is a hard function.",
    source="Ramapuram and Webb 2020, table VI",
    config=Classification,
    program="hardgrad_lab.experiments.bridges.classify.run",
    figures="hardgrad_lab.experiments.bridges.classify.figures:draw",
    parts=[Part(anchor="table-vi", title="Table VI: CIFAR-10 behind a hard function")],
    common=COMMON,
    tasks={"cifar10": {}},
    contestants={
        **{name: {"layer": name} for name in ("identity", "signum", "sort", "top-k", "k-means")},
        **{f"{name}-{how}": {"layer": name, "gradient": how} for name, how in RIVALS.items()},
    },
    budgets=BUDGETS,
    seeds={"smoke": 1, "small": 3, "paper": 5},
    later=LATER,
    metrics=[ACCURACY, MIRRORED, RELATIVE_ERROR],
    published={
        ("cifar10", name): {"accuracy": Published(value=mean, spread=spread, replications=5, source="table VI")}
        for name, (mean, spread) in {
            "identity": (0.9287, 0.0006),
            "signum": (0.9195, 0.0007),
            "sort": (0.9293, 0.0010),
            "top-k": (0.9221, 0.0014),
            "k-means": (0.9197, 0.0016),
        }.items()
    },
    claims=[
        Claim(
            says="sorting as the last activation improves on the network without it",
            source="section IV-E",
            task="cifar10",
            metric="accuracy",
            better="sort",
            worse="identity",
        ),
        *(
            Claim(
                says=f"{name} learns more through a bridge than with {how} gradients",
                source="ours",
                task="cifar10",
                metric="accuracy",
                better=name,
                worse=f"{name}-{how}",
            )
            for name, how in RIVALS.items()
        ),
    ],
)
