"""Measures ASGI servers side by side: see ``benchmarks/bench.py``."""
