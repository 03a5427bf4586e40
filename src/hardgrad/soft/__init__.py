"""Relaxed sorts, ranks, top-k and quantiles: at temperature 0 the hard ones, above it with a slope everywhere.

All take any leading shape and the dtypes of ``hg.hard``. Half precision is the float32 result, rounded once; a gradient
too large for float16 is the largest that it has. Infinities are the ends of an order and mix with nothing, and NaN
counts as the largest value, as in ``hg.hard``; they get a gradient of 0. Where the temperature is 0, sorted values have
the gradient of ``torch.sort``, and ranks, masks and permutations none. A temperature that is negative where no value
can be read makes its rows NaN.

As twins: ``hg.straight_through(hg.hard.rank, soft=functools.partial(hg.soft.rank, temperature=1.0))``.
"""

from hardgrad.soft.network import Network as Network
from hardgrad.soft.operators import argmax as argmax
from hardgrad.soft.operators import median as median
from hardgrad.soft.operators import permutation as permutation
from hardgrad.soft.operators import quantile as quantile
from hardgrad.soft.operators import rank as rank
from hardgrad.soft.operators import sort as sort
from hardgrad.soft.operators import top_k as top_k
from hardgrad.soft.operators import top_k_mask as top_k_mask
