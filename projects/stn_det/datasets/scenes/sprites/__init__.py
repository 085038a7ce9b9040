"""Drawings of single objects, one kind a file."""
