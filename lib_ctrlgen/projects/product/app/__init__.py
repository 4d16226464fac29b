"""The page of `ctrlgen product --app`, with gradio."""
