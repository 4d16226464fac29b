"""One call of a U-Net: its inputs, its layers, and the port of each host's implementation."""
