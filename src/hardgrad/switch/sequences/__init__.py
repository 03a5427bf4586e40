"""Switches along time: branches with a memory, and fades over a change."""
