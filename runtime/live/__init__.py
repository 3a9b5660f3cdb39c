"""Speech in as it is spoken, a face out: sessions, the streams they carry, and who runs when."""
