"""A control session: the hooks on a U-Net while a generation runs."""
