"""The command `ctrlgen`."""
