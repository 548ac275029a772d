"""What a run is worth, as a page to look at: the evaluation of one run, and the comparison of several."""
