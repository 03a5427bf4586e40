"""The figures of the paper on bridges, one file an experiment: ``draw(groups, results) -> list[Drawing]``."""
