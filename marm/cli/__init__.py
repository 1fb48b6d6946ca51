"""Commands: each a function from settings to what is printed; no logic of their own."""
