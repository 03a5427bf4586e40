"""Monte Carlo gradients of an expectation, one file per method; each takes the distribution and the objective."""

from hardgrad.montecarlo._arms import arms as arms
from hardgrad.montecarlo._bridge_estimator import bridge as bridge
from hardgrad.montecarlo._disarm import disarm as disarm
from hardgrad.montecarlo._exact import exact as exact
from hardgrad.montecarlo._gumbel import gumbel as gumbel
from hardgrad.montecarlo._gumbel_rao import gumbel_rao as gumbel_rao
from hardgrad.montecarlo._rebar import RebarControl as RebarControl
from hardgrad.montecarlo._rebar import rebar as rebar
from hardgrad.montecarlo._reinmax import reinmax as reinmax
from hardgrad.montecarlo._relax import RelaxControl as RelaxControl
from hardgrad.montecarlo._relax import relax as relax
from hardgrad.montecarlo._score_function import score_function as score_function
from hardgrad.montecarlo._straight_through_estimator import straight_through as straight_through
from hardgrad.montecarlo.baselines import MovingAverage as MovingAverage
from hardgrad.montecarlo.objective import Objective as Objective
from hardgrad.montecarlo.objective import each as each
from hardgrad.montecarlo.temperature import Annealed as Annealed
