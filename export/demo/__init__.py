"""The demo character: a drawn world, speech with known mouths, a small checkpoint trained on both."""
