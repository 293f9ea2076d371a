"""The dag engine: checks, stores, schedules and shows DAGs of operators."""
