"""Assets for nerfstudio: the run that it opens (run.py), and its plugin that draws it (method.py)."""
