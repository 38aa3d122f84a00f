"""The network: where it comes from, how rows become batches, and the one loss."""
