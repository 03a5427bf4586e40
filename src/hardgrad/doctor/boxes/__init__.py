"""What a black box is like, one question a file; ``hardgrad.doctor.examine`` asks them all."""
