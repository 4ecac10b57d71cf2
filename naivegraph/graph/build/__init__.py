"""Networks written by hand: nodes, and the recording made of them."""
