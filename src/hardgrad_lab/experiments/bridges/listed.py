"""The experiments of the paper on differentiable approximation bridges, by the name of their command.

Sorting (table II) came first, and has a shape of its own: `sorting`.
"""

from __future__ import annotations

from hardgrad_lab.experiments.bridges.classify import CLASSIFY
from hardgrad_lab.experiments.bridges.conditioning import CONDITIONING
from hardgrad_lab.experiments.bridges.density import DENSITY
from hardgrad_lab.experiments.bridges.figure3 import FIGURE3
from hardgrad_lab.experiments.bridges.latents import LATENTS
from hardgrad_lab.experiments.bridges.placement import PLACEMENT
from hardgrad_lab.experiments.bridges.versus_ste import VERSUS_STE
from hardgrad_lab.runs.experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    each.name: each for each in (FIGURE3, LATENTS, CLASSIFY, PLACEMENT, CONDITIONING, VERSUS_STE, DENSITY)
}
