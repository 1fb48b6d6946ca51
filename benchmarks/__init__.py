"""Measurements: each prints a table for people and ends in one JSON line for programs."""
