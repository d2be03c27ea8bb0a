"""The training loop, its optimizers, and the training of many seeds at once."""
