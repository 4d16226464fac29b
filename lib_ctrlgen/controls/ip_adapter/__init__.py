"""IP-Adapters: recognising and loading their files, and preparing their units."""
