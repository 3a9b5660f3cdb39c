"""Files written whole or not at all, and the folders where caches lie."""
