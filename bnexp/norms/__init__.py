"""Normalization layers: one file a norm, chosen by the YAML of the same name under `conf/norm/`."""
