"""What is known of a denoiser: its calls, the flow of tensors in it, what a bank need hold."""
