"""One module for each range, and how the rows of a batch get to them and back."""
