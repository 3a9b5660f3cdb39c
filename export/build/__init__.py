"""From a checkpoint to a portable bundle: float, fp16 or int8, each by the same steps."""
