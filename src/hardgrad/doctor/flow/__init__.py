"""Where the gradient of a step goes: what ``hardgrad.doctor.breaks`` is made of."""
