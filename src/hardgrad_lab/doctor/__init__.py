"""What the doctor is shown: the user's function by its name, and a bank of real hard functions."""
