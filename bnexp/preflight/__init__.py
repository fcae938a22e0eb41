"""What is known to go wrong, found before training: errors in `sites`, warnings in `warnings`."""
