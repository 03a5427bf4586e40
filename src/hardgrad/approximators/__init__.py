"""Networks that imitate hard functions, and ``suggest``, which looks at a function and picks one."""

from hardgrad.approximators._suggest import suggest as suggest
from hardgrad.approximators.networks import conv as conv
from hardgrad.approximators.networks import elementwise as elementwise
from hardgrad.approximators.networks import mlp as mlp
from hardgrad.approximators.networks import sequence as sequence
