"""The single networks of a bundle behind the Open Inference Protocol v2, by REST and by gRPC."""
