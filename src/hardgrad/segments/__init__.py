"""The search for the conditions of a switch: points, how many, which key, and how sure."""

from hardgrad.segments.criterion import Tried as Tried
from hardgrad.segments.gradient import Gradient as Gradient
from hardgrad.segments.keys import KeyScore as KeyScore
from hardgrad.segments.keys import RankedKeys as RankedKeys
from hardgrad.segments.result import RangeScore as RangeScore
from hardgrad.segments.score import proxy_loss as proxy_loss
