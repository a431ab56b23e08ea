"""What requests become."""
