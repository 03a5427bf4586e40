"""Many runs: which a budget makes of all experiments, and how they are shared out to processes and machines."""
