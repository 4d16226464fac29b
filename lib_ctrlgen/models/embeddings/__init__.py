"""Embeddings of textual inversion: their files, and how they are found in prompts."""
