"""Looking into a trained network: tensors in, tensors out."""
