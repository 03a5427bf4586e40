"""Running an experiment: its record, its checkpoint, its loop. Nothing here knows any particular experiment."""
