"""Executors: back ends that run tasks, and what runs inside their workers."""
