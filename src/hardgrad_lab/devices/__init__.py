"""Models of a recorded device: kinds by name, trained along time, with a state handed in and out."""
