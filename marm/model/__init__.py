"""The network: features to embeddings, L layers of target attention, tasks; it knows tensors and no store."""
