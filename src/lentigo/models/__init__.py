"""The registered networks and their contract."""
