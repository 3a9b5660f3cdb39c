"""An opened bundle: its files checked, a backend chosen, networks opened and lent."""
