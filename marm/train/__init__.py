"""The stream: measure, learn, remember, cut."""
