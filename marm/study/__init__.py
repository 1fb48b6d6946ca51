"""Trainings of many models on one log, compared: tables, intervals and a page."""
