"""Generators (policies): a prompt in, an asset out, with log-probs of the steps between."""
