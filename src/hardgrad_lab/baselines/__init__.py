"""What a switch must be compared with: rivals that see the same key and have as many parameters."""

from hardgrad_lab.baselines.build import NAMES as NAMES
from hardgrad_lab.baselines.build import SOLVED as SOLVED
from hardgrad_lab.baselines.build import TRAINED as TRAINED
from hardgrad_lab.baselines.build import Counts as Counts
from hardgrad_lab.baselines.build import build as build
from hardgrad_lab.baselines.build import counts as counts
from hardgrad_lab.baselines.build import describe as describe
from hardgrad_lab.baselines.build import size as size
from hardgrad_lab.baselines.solved import Solved as Solved
