"""`ctrlgen blueprint`: a folder of hand-drawn plans and elevations becomes a set of consistent renderings."""
