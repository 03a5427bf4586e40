"""Any program as a layer: NumPy in and out, in this process or in others."""
