"""The hard IF: ranges of a number, and one set of parameters for each."""

from hardgrad.switch.agree import Agreement as Agreement
from hardgrad.switch.agree import agreement as agreement
from hardgrad.switch.crossfade import CrossFade as CrossFade
from hardgrad.switch.embedding import RangeEmbedding as RangeEmbedding
from hardgrad.switch.grid import Grid as Grid
from hardgrad.switch.health import Health as Health
from hardgrad.switch.health import inspect as inspect
from hardgrad.switch.history import History as History
from hardgrad.switch.hysteresis import Hysteresis as Hysteresis
from hardgrad.switch.layer_mask import LayerMask as LayerMask
from hardgrad.switch.learnt import LearntRanges as LearntRanges
from hardgrad.switch.losses import clip_grad_norm_per_branch_ as clip_grad_norm_per_branch_
from hardgrad.switch.losses import per_branch_mean as per_branch_mean
from hardgrad.switch.nested import If as If
from hardgrad.switch.place import Refined as Refined
from hardgrad.switch.place import refine as refine
from hardgrad.switch.place import threshold_loss as threshold_loss
from hardgrad.switch.ranges import Ranges as Ranges
from hardgrad.switch.recurrent import RecurrentSwitch as RecurrentSwitch
from hardgrad.switch.router import Router as Router
from hardgrad.switch.search import FoundRanges as FoundRanges
from hardgrad.switch.search import Gradient as Gradient
from hardgrad.switch.search import proxy_loss as proxy_loss
from hardgrad.switch.search import search_key as search_key
from hardgrad.switch.search import search_ranges as search_ranges
from hardgrad.switch.switch import Switch as Switch
