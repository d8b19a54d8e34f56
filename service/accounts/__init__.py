"""Accounts: register, log in."""
