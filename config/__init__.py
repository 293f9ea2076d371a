"""Default configuration and example DAGs."""
