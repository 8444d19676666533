"""Methods to look into a trained network: tensors in, tensors out."""
