"""Models: fitting them, and predicting with them."""
