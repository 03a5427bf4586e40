"""Reading tables as people have them: bytes, layout, numbers, columns, and which of them play which part."""
