"""The HTTP API: Flask blueprints, one per resource."""
