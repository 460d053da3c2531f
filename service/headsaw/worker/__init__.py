"""The asyncio shell: receives, claims, converts, publishes. It performs effects; what to do is decided in `core`."""
