"""Facts about torch's modules and functions, and blocks after which they are as before."""
