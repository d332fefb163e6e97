"""Rewards that ask whether views of an asset belong to one and the same thing, and whether it looks
right from every side."""
