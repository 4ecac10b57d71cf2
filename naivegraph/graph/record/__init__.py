"""One recorded run of a network: layers, functions, operators, and the integers it computes with."""
