"""Faces in pictures: detection, alignment, identity embeddings."""
