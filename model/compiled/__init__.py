"""The network for ONNX Runtime: graphs of what a request asks of it, with the weights of a model in them."""
