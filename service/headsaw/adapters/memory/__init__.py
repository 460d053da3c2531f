"""Every port in memory, enforcing what AWS enforces: for tests, the simulator, and anyone who learns the service."""
