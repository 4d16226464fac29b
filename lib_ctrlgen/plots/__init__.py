"""Plots as self-contained SVG elements, and the plan of a request as a plot and as text."""
