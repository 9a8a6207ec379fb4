"""AHSI products of GF-5, GF-5A, GF-5B, ZY-1 02D and ZY-1 02E, from the files as they are delivered."""

from .bands import OVERLAP
from .describe import describe
from .names import EXPECTED
from .product import Detector, Product, open_product
from .reader import Gaofen

__all__ = ["EXPECTED", "OVERLAP", "Detector", "Gaofen", "Product", "describe", "open_product"]
