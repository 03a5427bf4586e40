"""Monte Carlo gradients of an expectation, one file per method; each takes the distribution and the objective."""

from hardgrad.montecarlo._bridge_estimator import bridge_estimator as bridge_estimator
from hardgrad.montecarlo._rebar import RebarControl as RebarControl
from hardgrad.montecarlo._relax import RelaxControl as RelaxControl
from hardgrad.montecarlo._straight_through_estimator import straight_through_estimator as straight_through_estimator
from hardgrad.montecarlo.baselines import MovingAverage as MovingAverage
from hardgrad.montecarlo.objective import Objective as Objective
from hardgrad.montecarlo.objective import each_sample as each_sample
from hardgrad.montecarlo.temperature import Annealed as Annealed
