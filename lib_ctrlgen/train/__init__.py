"""Training: the bundled tiny model, from generated scenes alone."""
