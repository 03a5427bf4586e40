"""The page on a fit: its story, verdict, tables, figures and sounds. Never trains."""
