"""Networks that were trained elsewhere: of the Hugging Face hub, an ONNX file, another polymodal model."""
