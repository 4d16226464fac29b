"""The pictures of a training: checks, captions, backgrounds, sizes, batches."""
