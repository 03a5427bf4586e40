"""The published experiments: each a folder of its own."""
