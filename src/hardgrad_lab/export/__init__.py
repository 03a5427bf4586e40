"""A fitted model in the form that a plug-in, another runtime or a plain torch program takes."""
