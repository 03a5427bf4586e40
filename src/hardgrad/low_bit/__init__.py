"""Quantizers whose scale learns, for layers of few bits."""
