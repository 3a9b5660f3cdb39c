"""A crowd for a server: clients that speak, watch, and note when things came."""
