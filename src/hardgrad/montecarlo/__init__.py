"""Monte Carlo gradients of an expectation, one file per method; each takes the distribution and the objective."""

from hardgrad.montecarlo.arms import arms as arms
from hardgrad.montecarlo.baselines import MovingAverage as MovingAverage
from hardgrad.montecarlo.bridge import bridge as bridge
from hardgrad.montecarlo.disarm import disarm as disarm
from hardgrad.montecarlo.exact import exact as exact
from hardgrad.montecarlo.gumbel import gumbel as gumbel
from hardgrad.montecarlo.gumbel_rao import gumbel_rao as gumbel_rao
from hardgrad.montecarlo.objective import Objective as Objective
from hardgrad.montecarlo.objective import each as each
from hardgrad.montecarlo.rebar import RebarControl as RebarControl
from hardgrad.montecarlo.rebar import rebar as rebar
from hardgrad.montecarlo.reinmax import reinmax as reinmax
from hardgrad.montecarlo.relax import RelaxControl as RelaxControl
from hardgrad.montecarlo.relax import relax as relax
from hardgrad.montecarlo.score_function import score_function as score_function
from hardgrad.montecarlo.straight_through import straight_through as straight_through
from hardgrad.montecarlo.temperature import Annealed as Annealed
