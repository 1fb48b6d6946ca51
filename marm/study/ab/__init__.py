"""`marm ab`: the simulated app with whole pipelines in its loop, and what people make of what they are shown."""
