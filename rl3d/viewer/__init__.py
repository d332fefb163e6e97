"""The web viewer: look at an asset, or at a folder of assets, in a browser."""

from rl3d.viewer.server import Viewer, serve

__all__ = ["Viewer", "serve"]
