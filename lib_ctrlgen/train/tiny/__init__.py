"""Trains the bundled tiny model, on generated scenes only."""
