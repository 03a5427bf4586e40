"""How results are shown: lines for a terminal, small pages for a notebook. Strings in, strings out; no torch."""
