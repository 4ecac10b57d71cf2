"""What the network's own code demands of its sizes."""
