"""Mask R-CNN: module, data, prediction, and the weights of torchvision."""
