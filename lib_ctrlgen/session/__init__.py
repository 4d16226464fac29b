"""The control session, which hooks the units' controls into a U-Net while a generation runs."""
