"""The demo character.

A drawn world, speech with known mouths, a small checkpoint trained on both.
"""
