"""From a trained run to new frames."""
