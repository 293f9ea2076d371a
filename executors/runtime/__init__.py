"""What runs inside any worker: load inputs, import the algorithm, run it, store outputs."""
