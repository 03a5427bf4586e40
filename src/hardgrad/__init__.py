"""Hard things inside PyTorch networks, trained end to end."""

from hardgrad import approximators as approximators
from hardgrad import doctor as doctor
from hardgrad import hard as hard
from hardgrad import montecarlo as montecarlo
from hardgrad import segments as segments
from hardgrad import surrogate as surrogate
from hardgrad import switch as switch
from hardgrad._graft import graft as graft
from hardgrad.bridge import Bridge as Bridge
from hardgrad.bridge import Fidelity as Fidelity
from hardgrad.bridge import strip as strip
from hardgrad.doctor import Diagnosis as Diagnosis
from hardgrad.doctor import diagnose as diagnose
from hardgrad.montecarlo import arms as arms
from hardgrad.montecarlo import disarm as disarm
from hardgrad.montecarlo import exact as exact
from hardgrad.montecarlo import gumbel as gumbel
from hardgrad.montecarlo import gumbel_rao as gumbel_rao
from hardgrad.montecarlo import rebar as rebar
from hardgrad.montecarlo import reinmax as reinmax
from hardgrad.montecarlo import relax as relax
from hardgrad.montecarlo import score_function as score_function
from hardgrad.penalty import Penalties as Penalties
from hardgrad.penalty import penalties as penalties
from hardgrad.segments import FoundRanges as FoundRanges
from hardgrad.segments import search_key as search_key
from hardgrad.segments import search_ranges as search_ranges
from hardgrad.surrogate import straight_through as straight_through
from hardgrad.switch import CrossFade as CrossFade
from hardgrad.switch import Grid as Grid
from hardgrad.switch import Hysteresis as Hysteresis
from hardgrad.switch import If as If
from hardgrad.switch import LayerMask as LayerMask
from hardgrad.switch import LearnedRanges as LearnedRanges
from hardgrad.switch import RangeEmbedding as RangeEmbedding
from hardgrad.switch import Ranges as Ranges
from hardgrad.switch import RecurrentSwitch as RecurrentSwitch
from hardgrad.switch import Switch as Switch
from hardgrad.switch import clip_grad_norm_per_branch_ as clip_grad_norm_per_branch_
from hardgrad.switch import per_branch_mean as per_branch_mean

__version__ = "0.1.0"
