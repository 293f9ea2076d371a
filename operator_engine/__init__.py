"""The operator engine: accepts tasks, drives executors and reports every outcome."""
