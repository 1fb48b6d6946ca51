"""Recall, attend, remember: the only place where memory and model meet; trainer and server both go through it."""
