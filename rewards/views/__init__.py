"""Rewards that check whether the views of an asset belong to one object, and whether it looks right
from every side."""
