"""One loop, a stage for each network."""
