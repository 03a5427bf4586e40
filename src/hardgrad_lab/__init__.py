"""The lab of hardgrad: runs published experiments, keeps records of them, and writes reports.

Importing this package imports neither torch nor matplotlib, so that ``hardgrad --help`` answers at once.
"""
