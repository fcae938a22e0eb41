"""Networks, the unit they are made of, their initial weights and their noise."""
