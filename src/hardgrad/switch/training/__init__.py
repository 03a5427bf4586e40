"""Range by range: losses, clipping, history, health, and ranges split, joined and warmed up."""
