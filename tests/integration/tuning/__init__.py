"""What makes a GPU fast, tried out on a CPU with what a CPU has."""
