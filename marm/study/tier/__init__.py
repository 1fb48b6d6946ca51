"""The memory tier at any scale: who comes, what the hot arenas keep, how nodes queue, how many of all there must be."""
