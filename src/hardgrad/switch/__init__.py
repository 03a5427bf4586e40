"""The hard IF: ranges of a number, and one set of parameters for each. Here stands what is not in `hardgrad` itself."""

from hardgrad.switch.conditions.condition import Router as Router
from hardgrad.switch.conditions.on_points import PointRouter as PointRouter
from hardgrad.switch.health import Health as Health
from hardgrad.switch.health import inspect as inspect
from hardgrad.switch.history import History as History
from hardgrad.switch.learned_points import agreement as agreement
from hardgrad.switch.learned_points import refine as refine
from hardgrad.switch.learned_points import relocate as relocate
from hardgrad.switch.learned_points import threshold_loss as threshold_loss
from hardgrad.switch.learning.agreement import Agreement as Agreement
from hardgrad.switch.learning.refine import Refined as Refined
from hardgrad.switch.learning.relocate import Relocated as Relocated
