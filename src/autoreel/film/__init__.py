"""Films: a storyboard a person can edit, a director that writes one, a renderer, and a record of how each was made."""
