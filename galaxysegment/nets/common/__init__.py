"""What the nets of several families share: skorch nets, the trainer, datasets, losses, memory."""
