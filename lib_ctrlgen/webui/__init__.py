"""The edge to AUTOMATIC1111's WebUI 1.10.1: the only importer of `modules`, gradio and fastapi."""
