"""Every test computes on one thread: two threads on shared cores can take ten times longer."""

import torch

torch.set_num_threads(1)
