"""From files to a store of shots, and from the store to batches."""
