"""GLIGEN: boxes with a phrase, and perhaps a picture, that say what is to be where."""
