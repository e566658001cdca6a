"""Benchmarks: what `trm bench` measures. Times depend on the machine; compare figures of one run with each other."""
