"""What operators run: reconcile, put work back in, look. Async functions over the ports that return frozen values."""
