"""Networks: tensors to tensors, nothing else."""
