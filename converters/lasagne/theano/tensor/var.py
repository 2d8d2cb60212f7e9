"""``theano.tensor.var``: the kinds of variables, by Theano's names."""

from converters.lasagne.theano.variable import Constant, Variable

TensorVariable, TensorConstant = Variable, Constant
