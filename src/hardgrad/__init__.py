"""Hard things inside PyTorch networks, trained end to end."""

from importlib import import_module as _import
from typing import TYPE_CHECKING

from hardgrad import approximators as approximators
from hardgrad import hard as hard
from hardgrad import montecarlo as montecarlo
from hardgrad import surrogate as surrogate
from hardgrad import switch as switch
from hardgrad._graft import graft as graft
from hardgrad._strip import strip as strip
from hardgrad.bridge import Bridge as Bridge
from hardgrad.fidelity import Fidelity as Fidelity
from hardgrad.montecarlo._arms import arms as arms
from hardgrad.montecarlo._carms import carms as carms
from hardgrad.montecarlo._disarm import disarm as disarm
from hardgrad.montecarlo._double_cv import double_cv as double_cv
from hardgrad.montecarlo._each_unit import each_unit as each_unit
from hardgrad.montecarlo._exact import exact as exact
from hardgrad.montecarlo._gapped import gapped as gapped
from hardgrad.montecarlo._gumbel import gumbel as gumbel
from hardgrad.montecarlo._gumbel_rao import gumbel_rao as gumbel_rao
from hardgrad.montecarlo._rebar import rebar as rebar
from hardgrad.montecarlo._reinmax import reinmax as reinmax
from hardgrad.montecarlo._relax import relax as relax
from hardgrad.montecarlo._score_function import score_function as score_function
from hardgrad.montecarlo._unordered_set import unordered_set as unordered_set
from hardgrad.penalty.bag import Penalties as Penalties
from hardgrad.penalty.scopes import penalties as penalties
from hardgrad.surrogate._straight_through import straight_through as straight_through
from hardgrad.switch.conditions.grid import Grid as Grid
from hardgrad.switch.conditions.hysteresis import Hysteresis as Hysteresis
from hardgrad.switch.conditions.learned import LearnedRanges as LearnedRanges
from hardgrad.switch.conditions.nested import If as If
from hardgrad.switch.conditions.ranges import Ranges as Ranges
from hardgrad.switch.embedding import RangeEmbedding as RangeEmbedding
from hardgrad.switch.layer_mask import LayerMask as LayerMask
from hardgrad.switch.losses import clip_grad_norm_per_branch_ as clip_grad_norm_per_branch_
from hardgrad.switch.losses import per_branch_mean as per_branch_mean
from hardgrad.switch.sequences.crossfade import CrossFade as CrossFade
from hardgrad.switch.sequences.recurrent import RecurrentSwitch as RecurrentSwitch
from hardgrad.switch.switch import Switch as Switch

if TYPE_CHECKING:
    from hardgrad import doctor as doctor
    from hardgrad import losses as losses
    from hardgrad import segments as segments
    from hardgrad import soft as soft
    from hardgrad.black_box._black_box import BlackBox as BlackBox
    from hardgrad.black_box.errors import BoxError as BoxError
    from hardgrad.codebook._levels import levels as levels
    from hardgrad.codebook._lookup_free import lookup_free as lookup_free
    from hardgrad.codebook.codebook import Codebook as Codebook
    from hardgrad.codebook.residual import ResidualCodebook as ResidualCodebook
    from hardgrad.devices.ballistics import Ballistics as Ballistics
    from hardgrad.devices.compressor import Compressor as Compressor
    from hardgrad.devices.envelope_key import EnvelopeKey as EnvelopeKey
    from hardgrad.devices.gate import Gate as Gate
    from hardgrad.doctor._diagnose import diagnose as diagnose
    from hardgrad.doctor.diagnosis import Diagnosis as Diagnosis
    from hardgrad.low_bit.learned_clip import LearnedClip as LearnedClip
    from hardgrad.low_bit.learned_scale import LearnedScale as LearnedScale
    from hardgrad.segments.keys import search_key as search_key
    from hardgrad.segments.result import FoundRanges as FoundRanges
    from hardgrad.segments.search import search_ranges as search_ranges
    from hardgrad.solvers._fenchel_young import fenchel_young as fenchel_young
    from hardgrad.solvers._imle import imle as imle
    from hardgrad.solvers._interpolated import interpolated as interpolated
    from hardgrad.solvers._perturbed import perturbed as perturbed
    from hardgrad.solvers._spo_plus import spo_plus as spo_plus
    from hardgrad.subset.k_subset import KSubset as KSubset
    from hardgrad.surrogate._perturb import perturb as perturb

__version__ = "0.1.0"

# Loaded when asked for: what measures and what searches is no part of a training, and a third of the files.
_LATER = {
    "doctor": "hardgrad.doctor",
    "losses": "hardgrad.losses",
    "segments": "hardgrad.segments",
    "soft": "hardgrad.soft",
    "BlackBox": "hardgrad.black_box._black_box:BlackBox",
    "BoxError": "hardgrad.black_box.errors:BoxError",
    "Codebook": "hardgrad.codebook.codebook:Codebook",
    "Ballistics": "hardgrad.devices.ballistics:Ballistics",
    "EnvelopeKey": "hardgrad.devices.envelope_key:EnvelopeKey",
    "Compressor": "hardgrad.devices.compressor:Compressor",
    "diagnose": "hardgrad.doctor._diagnose:diagnose",
    "Diagnosis": "hardgrad.doctor.diagnosis:Diagnosis",
    "LearnedClip": "hardgrad.low_bit.learned_clip:LearnedClip",
    "LearnedScale": "hardgrad.low_bit.learned_scale:LearnedScale",
    "search_key": "hardgrad.segments.keys:search_key",
    "FoundRanges": "hardgrad.segments.result:FoundRanges",
    "search_ranges": "hardgrad.segments.search:search_ranges",
    "KSubset": "hardgrad.subset.k_subset:KSubset",
    "interpolated": "hardgrad.solvers._interpolated:interpolated",
    "perturbed": "hardgrad.solvers._perturbed:perturbed",
    "imle": "hardgrad.solvers._imle:imle",
    "fenchel_young": "hardgrad.solvers._fenchel_young:fenchel_young",
    "spo_plus": "hardgrad.solvers._spo_plus:spo_plus",
    "perturb": "hardgrad.surrogate._perturb:perturb",
    "ResidualCodebook": "hardgrad.codebook.residual:ResidualCodebook",
    "levels": "hardgrad.codebook._levels:levels",
    "lookup_free": "hardgrad.codebook._lookup_free:lookup_free",
    "Gate": "hardgrad.devices.gate:Gate",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module 'hardgrad' has no attribute {name!r}")
    module, _, part = _LATER[name].partition(":")
    value = globals()[name] = getattr(_import(module), part) if part else _import(module)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER} - {"TYPE_CHECKING"})
