"""Published models to compare with: each reads raw rows in the place of MARM's layers, all else being equal."""

from marm.rivals.make import make_reader

__all__ = ["make_reader"]
