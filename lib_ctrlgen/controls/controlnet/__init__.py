"""ControlNet and the families that are built from its network."""
