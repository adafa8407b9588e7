"""Searches engine and Serve settings for the best goodput under a service level."""
