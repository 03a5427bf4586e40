"""Losses of an order, made of soft ranks and sorts."""
