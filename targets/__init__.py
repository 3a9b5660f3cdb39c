"""What hardware a bundle is built for.

One data file per board (``data/``), and the classes that read it (``spec``).

Nothing is imported here: every room imports ``targets.errors``, and a device that only
runs a bundle needs no YAML.
"""
