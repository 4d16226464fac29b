"""Control families, and how the units of a request are loaded."""
