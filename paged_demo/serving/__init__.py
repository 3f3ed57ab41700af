"""Requests, and engines that serve them over an allocator."""
