"""The extension for AUTOMATIC1111's WebUI 1.10.1. Only this folder imports `modules`, gradio and fastapi."""
