"""Measures the engine against a plain process pool and against Dask: `python benchmarks/run.py`."""
