"""Points that learn."""
