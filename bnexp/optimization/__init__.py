"""What moves the weights: optimizers and the course of their learning rate."""
