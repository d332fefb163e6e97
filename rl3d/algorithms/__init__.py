"""Objectives: pure functions of log-probs, advantages and references. One file an objective."""
