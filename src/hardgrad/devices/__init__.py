"""Hard IFs with a state along time, as audio devices have them: ballistics, gates, compressors, keys from a level."""
