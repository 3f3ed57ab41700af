"""Ledgers that decide which slots of a KV cache a sequence holds."""
