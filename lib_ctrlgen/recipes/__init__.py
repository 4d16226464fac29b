"""Recipes: a generation with its pictures, settings and result under a name, in a folder with a history."""
