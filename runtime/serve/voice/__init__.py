"""Text that is said: a command or the built-in voice, sentence by sentence, with captions."""
