"""What backends share: the contract of engines, and the pieces that several are made of."""
