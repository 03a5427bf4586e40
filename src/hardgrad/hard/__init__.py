"""Hard functions: plain callables ``Tensor -> Tensor`` whose gradient is zero, missing or meaningless.

All take any leading shape and the dtypes float64, float32, bfloat16 and float16, and return the dtype they got; others
are refused. Half precision is the float32 result of the same numbers, rounded once, and what float32 would round on the
way (means, distances, levels, sums of weights) is computed in double precision. Memory is a small multiple of input and
output. Functions of one element keep NaN visible: a NaN in is a NaN out, never a silent 0 or 1. Functions that order
their input take NaN as the largest value, as ``torch.sort`` does. Which of equals counts is in each docstring.
"""

from hardgrad.hard.clusters import kmeans as kmeans
from hardgrad.hard.clusters import nearest_code as nearest_code
from hardgrad.hard.clusters import nearest_index as nearest_index
from hardgrad.hard.levels import quantize as quantize
from hardgrad.hard.order import one_hot_argmax as one_hot_argmax
from hardgrad.hard.order import permutation as permutation
from hardgrad.hard.order import rank as rank
from hardgrad.hard.order import sort as sort
from hardgrad.hard.order import sort_rows_cols as sort_rows_cols
from hardgrad.hard.order import top_k as top_k
from hardgrad.hard.order import top_k_mask as top_k_mask
from hardgrad.hard.quantiles import median as median
from hardgrad.hard.quantiles import quantile as quantile
from hardgrad.hard.samples import bernoulli as bernoulli
from hardgrad.hard.samples import categorical as categorical
from hardgrad.hard.samples import k_subset as k_subset
from hardgrad.hard.thresholds import binarize as binarize
from hardgrad.hard.thresholds import round as round
from hardgrad.hard.thresholds import sign as sign
from hardgrad.hard.thresholds import step as step
