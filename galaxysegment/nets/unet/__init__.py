"""The U-Net and its prediction of probabilities."""
