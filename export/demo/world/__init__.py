"""The drawn world: thousands of distinct portraits whose mouth, eyes and head move as told, with ground truth."""
