"""What the OpenVINO backend and face models share: the library, its cache, a rewrite of norms."""
