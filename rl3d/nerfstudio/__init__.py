"""Assets for nerfstudio: the run that it opens (run.py), the plugin that draws it (method.py)."""
