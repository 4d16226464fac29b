"""Whole projects over a folder of pictures, each one command. What they share is in this folder."""
