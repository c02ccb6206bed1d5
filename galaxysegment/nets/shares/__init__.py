"""The net that corrects each source's share of the light of a pixel: module, data and loss."""
