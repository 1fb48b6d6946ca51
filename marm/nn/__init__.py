"""Layers that know tensors only: attention over rows that lie in memory, the sparse table, norms, experts."""

# Loops compile with their own copies from here on.
import marm.nn.machine  # noqa: F401
