"""Why pictures of a product look bad: its data, the weight, the encoder, or the base model."""
