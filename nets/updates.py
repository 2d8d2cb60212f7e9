"""Caffe's six update rules, as optimizers of PyTorch.

Each takes the learnable blobs of a net, in their order, and does with the gradients what the original does, in its
order: it scales all of them together so that their L2 norm is at most ``clip``, divides them by ``iter_size``, adds
the weight decay (``decay`` * ``decay_mult`` * w, or * sign(w) for L1), and applies the rule. With g the result,
r = rate * ``lr_mult`` and h a history that starts at zero:

=========  ==================================================================================
SGD        h = momentum h + r g;   w -= h
Nesterov   h' = momentum h + r g;  w -= (1 + momentum) h' - momentum h
AdaGrad    h += g^2;   w -= r g / (sqrt(h) + delta)
RMSProp    h = rms_decay h + (1 - rms_decay) g^2;   w -= r g / (sqrt(h) + delta)
AdaDelta   h = momentum h + (1 - momentum) g^2;   v = g sqrt((h2 + delta) / (h + delta))
           h2 = momentum h2 + (1 - momentum) v^2;   w -= r v
Adam       h = momentum h + (1 - momentum) g;   h2 = momentum2 h2 + (1 - momentum2) g^2
           w -= r sqrt(1 - momentum2^t) / (1 - momentum^t) h / (sqrt(h2) + delta)
=========  ==================================================================================

The rate stands inside the history, unlike torch.optim.SGD: a change of rate does not act on the momentum so far.

The rate is a number, or a 0-dim tensor on the device of the blobs: then a step reads nothing back, so that it can be
captured in a CUDA graph and replayed with other rates. A step works on all blobs of one ``lr_mult`` and ``decay_mult``
at once, in one fused pass where PyTorch has one whose formula can be made to fit; it uses up the gradients.
"""
