"""Memory of a network's runs: what is allocated and freed, call by call, as products of sizes."""
