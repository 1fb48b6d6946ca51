"""Answers over HTTP from a run folder, while it may be learned on; nothing is written to memory."""
