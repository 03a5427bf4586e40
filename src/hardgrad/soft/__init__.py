"""Relaxed sorts, ranks, top-k and quantiles: at temperature 0 the hard ones, above it with a slope everywhere."""

from hardgrad.soft.operators import argmax as argmax
from hardgrad.soft.operators import median as median
from hardgrad.soft.operators import permutation as permutation
from hardgrad.soft.operators import quantile as quantile
from hardgrad.soft.operators import rank as rank
from hardgrad.soft.operators import sort as sort
from hardgrad.soft.operators import top_k as top_k
from hardgrad.soft.operators import top_k_mask as top_k_mask
