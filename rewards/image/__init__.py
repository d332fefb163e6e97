"""Rewards that look at rendered views."""
