"""The training engine: it receives built objects and knows no norm, model, data set or writer."""
