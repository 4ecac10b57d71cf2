"""Which entries of which parameters a tensor is made of."""
