"""What listeners like: their votes in a local file, and what to offer next because of them."""
