"""The web viewer: look at assets and runs in a browser, and make new assets."""
