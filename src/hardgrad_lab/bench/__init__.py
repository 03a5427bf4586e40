"""What things cost on this machine, beside what else could be used."""
