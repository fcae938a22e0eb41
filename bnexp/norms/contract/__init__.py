"""What a norm is held to: what it takes, what it declares, and what it must compute."""
