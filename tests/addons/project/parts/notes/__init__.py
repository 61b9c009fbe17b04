"""Notes of users, with their history."""
