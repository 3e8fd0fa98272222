"""What a person looks at before and after training."""
