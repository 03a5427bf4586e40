"""From a key to a branch."""
