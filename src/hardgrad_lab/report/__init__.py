"""Reports: records in, tables, figures and one self-contained page out. Nothing here trains or imports torch."""
