"""From shell words to one checked configuration; everything that Hydra and OmegaConf do for bnexp is here."""
