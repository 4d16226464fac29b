"""Values of a panel's fields as a request and back, for any host that shows such a panel."""
