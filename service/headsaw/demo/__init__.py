"""The demo: an embedded AWS, events that look real, real worker processes, and an audit of what they did."""
