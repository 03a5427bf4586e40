"""Losses of an order: the value is the exact metric's, the gradient that of the metric made of soft ranks.

All take ``temperature``, ``dim``, ``method`` and ``relative`` as ``hg.soft.rank`` does; ``soft=True``, to return the
loss of soft ranks itself, which the cross-entropy does by default; and ``reduction``: ``"mean"`` or ``"sum"`` of all
rows, or ``"none"``.
"""

from hardgrad.losses._top_k_cross_entropy import top_k_cross_entropy as top_k_cross_entropy
from hardgrad.losses.correlation import kendall as kendall
from hardgrad.losses.correlation import spearman as spearman
from hardgrad.losses.retrieval import average_precision as average_precision
from hardgrad.losses.retrieval import ndcg as ndcg
