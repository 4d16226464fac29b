"""Figures of what a model and its controls do, measured on the user's own model: `ctrlgen explain`."""
