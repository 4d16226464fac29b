"""The X/Y tuner: varies a request along axes, scores the cells and recommends one of them."""
