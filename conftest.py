"""The Python blocks of README and docs run as tests; docstring examples do by pytest's own --doctest-modules."""

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

# Whole, before pytest imports single files for their doctests: else the file montecarlo/bridge.py hides the function
# hardgrad.montecarlo._bridge_estimator from every test.
import hardgrad  # noqa: F401  # imported for that effect

pytest_collect_file = Sybil(parsers=[PythonCodeBlockParser()], patterns=["README.md", "docs/*.md"]).pytest()
