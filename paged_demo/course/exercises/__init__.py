"""Exercises: what they are, how an answer is tried, and what is said to it."""
