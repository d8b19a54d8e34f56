"""Everything that an account has, in one document."""
