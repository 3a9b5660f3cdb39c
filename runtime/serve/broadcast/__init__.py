"""One session seen by many: its encoder, the fragments, each viewer's bounded queue."""
