"""Numba kernels: contiguous arrays in, a given `out` filled."""
