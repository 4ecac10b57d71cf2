"""The configuration object that a network was built from follows an edit."""
