"""A table and a hard IF: the scikit-learn face of the switch, the reading of files, the model folder."""
