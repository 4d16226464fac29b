"""The panel: its components, and how their values become a request."""
