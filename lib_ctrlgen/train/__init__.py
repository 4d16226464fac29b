"""Trains adapters, LoRAs and embeddings on a user's own pictures; in `tiny/`, the bundled tiny model."""
