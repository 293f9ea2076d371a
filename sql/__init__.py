"""Migrations and the generated schema per dialect."""
