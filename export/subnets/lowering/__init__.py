"""From torch.export's aten operators to ONNX operators: one short function each."""
