"""PuLID for SDXL: its files, the networks that read a face for it, and its units."""
