"""Layers that know tensors only: attention over rows that lie in memory, the sparse table, norms, experts."""
