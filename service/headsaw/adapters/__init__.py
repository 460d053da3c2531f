"""Where the service meets the world: AWS, the machine's clock, and memory. Foreign errors and types end here."""
