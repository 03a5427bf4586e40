"""Monte Carlo gradients of an expectation, one file per method; each takes the distribution and the objective."""

from hardgrad.montecarlo.baselines import MovingAverage as MovingAverage
from hardgrad.montecarlo.exact import exact as exact
from hardgrad.montecarlo.objective import Objective as Objective
from hardgrad.montecarlo.objective import each as each
from hardgrad.montecarlo.reinmax import reinmax as reinmax
from hardgrad.montecarlo.score_function import score_function as score_function
