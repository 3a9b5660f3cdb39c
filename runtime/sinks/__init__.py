"""Where finished frames go: mp4, a folder of PNGs, raw RGB."""
