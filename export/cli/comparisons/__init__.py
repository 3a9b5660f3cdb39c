"""What `echoexport compare` sets side by side, one file for each kind."""
