"""What happens around the WebUI's sampling."""
