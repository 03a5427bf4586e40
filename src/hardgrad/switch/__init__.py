"""The hard IF: ranges of a number, and one set of parameters for each."""

from hardgrad.switch.conditions.condition import Router as Router
from hardgrad.switch.conditions.grid import Grid as Grid
from hardgrad.switch.conditions.hysteresis import Hysteresis as Hysteresis
from hardgrad.switch.conditions.learned import LearnedRanges as LearnedRanges
from hardgrad.switch.conditions.nested import If as If
from hardgrad.switch.conditions.on_points import PointRouter as PointRouter
from hardgrad.switch.conditions.ranges import Ranges as Ranges
from hardgrad.switch.embedding import RangeEmbedding as RangeEmbedding
from hardgrad.switch.health import Health as Health
from hardgrad.switch.health import inspect as inspect
from hardgrad.switch.history import History as History
from hardgrad.switch.layer_mask import LayerMask as LayerMask
from hardgrad.switch.learned_points import agreement as agreement
from hardgrad.switch.learned_points import refine as refine
from hardgrad.switch.learned_points import relocate as relocate
from hardgrad.switch.learned_points import threshold_loss as threshold_loss
from hardgrad.switch.learning.agreement import Agreement as Agreement
from hardgrad.switch.learning.refine import Refined as Refined
from hardgrad.switch.learning.relocate import Relocated as Relocated
from hardgrad.switch.losses import clip_grad_norm_per_branch_ as clip_grad_norm_per_branch_
from hardgrad.switch.losses import per_branch_mean as per_branch_mean
from hardgrad.switch.sequences.crossfade import CrossFade as CrossFade
from hardgrad.switch.sequences.recurrent import RecurrentSwitch as RecurrentSwitch
from hardgrad.switch.switch import Switch as Switch
