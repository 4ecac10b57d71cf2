"""Networks written by hand as nodes."""
