"""Facts about torch's modules and functions, and leaving them as they were."""
