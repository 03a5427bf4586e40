"""The hard IF: ranges of a number, and one set of parameters for each."""

from hardgrad.switch.embedding import RangeEmbedding as RangeEmbedding
from hardgrad.switch.layer_mask import LayerMask as LayerMask
from hardgrad.switch.routers.grid import Grid as Grid
from hardgrad.switch.routers.hysteresis import Hysteresis as Hysteresis
from hardgrad.switch.routers.nested import If as If
from hardgrad.switch.routers.ranges import Ranges as Ranges
from hardgrad.switch.routers.router import Router as Router
from hardgrad.switch.search import FoundRanges as FoundRanges
from hardgrad.switch.search import Gradient as Gradient
from hardgrad.switch.search import proxy_loss as proxy_loss
from hardgrad.switch.search import search_key as search_key
from hardgrad.switch.search import search_ranges as search_ranges
from hardgrad.switch.sequences.crossfade import CrossFade as CrossFade
from hardgrad.switch.sequences.recurrent import RecurrentSwitch as RecurrentSwitch
from hardgrad.switch.switch import Switch as Switch
from hardgrad.switch.thresholds.agree import Agreement as Agreement
from hardgrad.switch.thresholds.agree import agreement as agreement
from hardgrad.switch.thresholds.learnt import LearntRanges as LearntRanges
from hardgrad.switch.thresholds.place import Refined as Refined
from hardgrad.switch.thresholds.place import refine as refine
from hardgrad.switch.thresholds.place import threshold_loss as threshold_loss
from hardgrad.switch.training.health import Health as Health
from hardgrad.switch.training.health import inspect as inspect
from hardgrad.switch.training.history import History as History
from hardgrad.switch.training.losses import clip_grad_norm_per_branch_ as clip_grad_norm_per_branch_
from hardgrad.switch.training.losses import per_branch_mean as per_branch_mean
