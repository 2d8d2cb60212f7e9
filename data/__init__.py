"""Batches: stores in and out, transforms, and the sources behind a net's data layers."""

from data.stores import open_store

__all__ = ["open_store"]
