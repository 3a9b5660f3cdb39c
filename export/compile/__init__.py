"""From a portable bundle to a compiled one.

Engines are built here, proved by self-tests, and kept in a cache.
"""
