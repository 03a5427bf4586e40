"""Broken and sound models for `hardgrad.doctor.breaks`: what must be found, and what left alone."""
