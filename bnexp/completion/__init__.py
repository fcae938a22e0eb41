"""What may stand where the cursor is: answers to a shell's TAB, at once and so without Hydra."""
