"""The X/Y tuner: axes over a request, its cells, their scores, and the cell to take."""
