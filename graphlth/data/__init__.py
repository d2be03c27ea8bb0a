"""Task types, which give the trainer batches, and the readers of their files."""
