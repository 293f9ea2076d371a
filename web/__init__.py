"""The static pages: runs, one run live, and the API's documentation."""
