"""The export room: checkpoint in, bundle out; torch stays inside ``subnets`` and ``checkpoint``."""
