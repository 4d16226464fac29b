"""Scores of pictures, and the recommendation that is made from them."""
