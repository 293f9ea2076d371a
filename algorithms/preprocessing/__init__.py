"""What makes a table fit for a model."""
