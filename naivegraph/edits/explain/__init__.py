"""Why a size is what it is, and why requests conflict."""
