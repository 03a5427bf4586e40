"""The search for the conditions of a switch: points, how many, which key, and how sure."""

from hardgrad.switch.search.criterion import Tried as Tried
from hardgrad.switch.search.found import FoundRanges as FoundRanges
from hardgrad.switch.search.found import RangeScore as RangeScore
from hardgrad.switch.search.gradient import Gradient as Gradient
from hardgrad.switch.search.keys import KeyScore as KeyScore
from hardgrad.switch.search.keys import RankedKeys as RankedKeys
from hardgrad.switch.search.keys import search_key as search_key
from hardgrad.switch.search.search import proxy_loss as proxy_loss
from hardgrad.switch.search.search import search_ranges as search_ranges
