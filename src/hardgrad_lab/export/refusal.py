"""What cannot be exported: the reason, and what can."""


class ExportError(ValueError):
    """A model that has no such form; the message says why, and which form it has."""
