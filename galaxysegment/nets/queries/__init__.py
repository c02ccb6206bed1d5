"""What DETR and Mask2Former share: seeds of queries, targets, checkpoints, prediction."""
