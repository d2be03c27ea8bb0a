"""Backends of the message-passing kernel, one file each, called like the backend."""
