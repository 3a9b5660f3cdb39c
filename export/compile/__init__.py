"""From a portable bundle to a compiled one: engines built here, proved by self-tests, kept in a cache."""
