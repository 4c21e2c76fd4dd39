"""What was measured: records in their files, and what they say together."""
