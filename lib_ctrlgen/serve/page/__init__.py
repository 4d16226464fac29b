"""The server's page, with gradio."""
