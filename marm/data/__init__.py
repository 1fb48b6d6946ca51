"""Logs as streams of events."""
