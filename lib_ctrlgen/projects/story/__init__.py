"""`ctrlgen story`: characters, places, poses and styles of a story become sheets of assets, each a recipe."""
