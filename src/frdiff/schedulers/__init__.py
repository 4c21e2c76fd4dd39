"""What is known of a scheduler: its name, its noise levels, and which step of a run a call is."""
