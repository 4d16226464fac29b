"""Model files: finding, recognising, reading, caching and offloading them."""
