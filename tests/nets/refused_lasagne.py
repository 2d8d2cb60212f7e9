"""What the layer types for Lasagne's nets refuse, in the form of ``test_refusals.REFUSED``."""

REFUSED = r"""
Permute | 2x3x4 | 1 | permute_param { order: [0, 1, 1] }
    order [0, 1, 1] must name axes of its bottom, 0 to 2, each once
Permute | 2x3x4 | 1 | permute_param { order: 3 }
    order [3] must name axes of its bottom, 0 to 2, each once
StridedSlice | 2x3 | 1 | strided_slice_param { step: 0 }
    step must not be 0
StridedSlice | 2x3 | 1 | strided_slice_param { start: 2 stop: 1 }
    start 2, stop 1 and step 1 leave nothing of 3
StridedSlice | 2x3 | 1 | strided_slice_param { axis: 2 }
    axis 2 does not exist in a blob of 2 axes
WinnerTakeAll | 2x5 | 1 | winner_take_all_param { pool_size: 2 }
    pool_size 2 must divide the 5 of axis 1
WinnerTakeAll | 2x5 | 1 |
    pool_size 0 must divide the 5 of axis 1
RegionPooling | 2x3x4 | 1 | regions_param { regions: 2 }
    its bottom must be N x C x H x W, and regions list positive numbers
RegionPooling | 2x3x4x4 | 1 |
    its bottom must be N x C x H x W, and regions list positive numbers
RegionPooling | 2x3x4x4 | 1 | regions_param { regions: [1, 0] }
    its bottom must be N x C x H x W, and regions list positive numbers
SharedDropout | 2x3 | 1 | shared_dropout_param { dropout_ratio: 1 }
    dropout_ratio must be at least 0 and below 1, not 1
SharedDropout | 2x3 | 1 | shared_dropout_param { shared_axis: 2 }
    axis 2 does not exist in a blob of 2 axes
RReLU | 2x3 | 1 | rrelu_param { lower: 0.5 upper: 0.25 }
    lower 0.5 is above upper 0.25
Upscale | 2x3x4x4 | 1 | upscale_param { scale: 2 }
    scale needs 2 positive figures, one for each axis behind the second
Upscale | 2x3x4x4 | 1 | upscale_param { scale: [2, 0] }
    scale needs 2 positive figures, one for each axis behind the second
ConstantPad | 2x3 | 1 | constant_pad_param { before: [0, 1] after: 1 }
    before and after need 2 figures each, one an axis of its bottom
LocallyConnected | 2x3x4 | 1 | locally_connected_param { num_output: 2 kernel_h: 3 kernel_w: 3 }
    its bottom needs 4 axes, N x C x H x W
LocallyConnected | 2x3x4x4 | 1 | locally_connected_param { kernel_h: 3 kernel_w: 3 }
    num_output must be positive, kernel_h and kernel_w odd
LocallyConnected | 2x3x4x4 | 1 | locally_connected_param { num_output: 2 kernel_h: 3 kernel_w: 2 }
    num_output must be positive, kernel_h and kernel_w odd
LocallyConnected | 2x3x4x4 | 1 | locally_connected_param { num_output: 2 kernel_h: 3 kernel_w: 3 channelwise: true }
    channelwise goes with as many outputs as channels, 3
WindowPooling | 2x3 | 1 | window_pooling_param { kernel_size: 2 }
    its bottom needs 3 to 5 axes, N x C x spatial
WindowPooling | 2x3x4x4 | 1 | window_pooling_param { kernel_size: 2 }
    kernel_size, stride and pad need 2 figures each, positive but for pad
WindowPooling | 2x3x4x4 | 1 | window_pooling_param { kernel_size: [2, 2] stride: [1, 0] }
    kernel_size, stride and pad need 2 figures each, positive but for pad
WindowPooling | 2x3x4 | 1 | window_pooling_param { kernel_size: 2 pad: 2 }
    pad must be smaller than the kernel
WindowPooling | 2x3x4 | 1 | window_pooling_param { kernel_size: 3 pad: 1 partial: true }
    partial windows go without pad
WindowPooling | 2x3x4 | 1 | window_pooling_param { kernel_size: 5 }
    the kernel does not fit into its bottom
SimpleRNN | 2x3x4 | 1 |
    num_output must be set and positive
SimpleRNN | 2x3x4 2x3 2x5 | 1 | sequence_param { num_output: 5 given_state: 1 }
    its bottoms are x, a mask if any, and the 1 of given_state, each below 1
GRU | 2x3x4 2x3 2x5 | 1 | sequence_param { num_output: 5 }
    its bottoms are x, a mask if any, and the 0 of given_state, each below 1
SimpleRNN | 2x3 | 1 | sequence_param { num_output: 5 }
    x must be N x T x any, and the mask N x T
SimpleRNN | 2x3x4 2x4 | 1 | sequence_param { num_output: 5 }
    x must be N x T x any, and the mask N x T
PeepholeLSTM | 2x3x4 2x5 2x4 | 1 | sequence_param { num_output: 5 given_state: [0, 1] }
    first states must be N x 5
PeepholeLSTM | 2x3x4 | 1 | sequence_param { num_output: 5 gate: [SIGMOID, SIGMOID] }
    gate needs 4 activations, one a gate
GRU | 2x3x4 | 1 | sequence_param { num_output: 5 gate: SIGMOID }
    gate needs 3 activations, one a gate
"""
