"""Latency: runtimes, clocks, the times of calls inside a network, and the cost that is fitted to them."""
