"""The experiments of the paper on differentiable approximation bridges, by the name of their command.

Sorting (table II) came first, and has a shape of its own: `sorting`.
"""

from __future__ import annotations

from hardgrad_lab.dab.figure3 import FIGURE3
from hardgrad_lab.runs.experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {each.name: each for each in (FIGURE3,)}
