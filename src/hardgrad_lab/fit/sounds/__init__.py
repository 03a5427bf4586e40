"""Sounds: read, cut into channels, brought in line, paired; predicted block by block and written."""
