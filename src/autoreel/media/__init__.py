"""Media files in, media files out."""
