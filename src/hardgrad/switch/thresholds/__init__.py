"""Points that learn: the routing stays hard, and the rows near a point lend it a gradient."""
