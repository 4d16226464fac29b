"""Pictures: reading and writing, resizing, masks, and measurements."""
