"""The drawn world: distinct portraits whose faces move as told, with ground truth."""
