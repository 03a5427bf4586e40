"""The pages on what the doctor saw: one examination, all of them, and the guide in Markdown. Never examines."""
