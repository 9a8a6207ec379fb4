"""Parts of the benchmark suite of the map engine; `suite.py` runs them."""
