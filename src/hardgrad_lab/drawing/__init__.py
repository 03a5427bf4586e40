"""What every figure of the lab obeys: inks, letters, numbers, layout; and sounds in a page."""
