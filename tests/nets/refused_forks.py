"""What the layer types of forks refuse, in the form of ``test_refusals.REFUSED``."""

REFUSED = r"""
SoftmaxWithLoss | 2x3 2 | 1 | loss_param { weight_by_label_freqs: true class_weighting: [1, 2] }
    has 2 class_weighting: weight_by_label_freqs takes one for each class
SoftmaxWithLoss | 2x3 2 | 1 | loss_param { class_weighting: [1, 2, 3] }
    has 3 class_weighting: weight_by_label_freqs takes one for each class
DepthwiseConvolution | 1x4x3x3 | 1 | convolution_param { kernel_size: 1 num_output: 4 group: 2 }
    group 2 must be left out, or be the number of its channels, 4
DepthwiseConvolution | 1x4x3x3 | 1 | convolution_param { kernel_size: 1 num_output: 6 }
    num_output 6 and 4 channels must divide into 4 groups
DepthwiseConvolution | 1x4x3x3 | 1 | convolution_param { kernel_size: 1 }
    num_output must be set and positive
DepthwiseConvolution | 1x4x3x3 | 1 | convolution_param { kernel_size: 1 num_output: 4 relu: true }
    option convolution_param.relu is not supported
DepthwiseConvolution | 1x4x3x3 | 1 | DepthwiseConvolution_param { kernel_size: 1 num_output: 4 }
    takes its options in convolution_param, not in DepthwiseConvolution_param
ConvolutionDepthwise | 1x4x3x3 | 1 | convolution_param { kernel_size: 1 num_output: 8 }
    num_output 8 must be left out, or be the number of its channels, 4
ConvolutionDepthwise | 1x4x3 | 1 | convolution_param { kernel_size: 1 }
    its bottom needs 4 axes, N x C x H x W
ConvolutionDepthwise | 1x4x3x3 1x4x3x3 | 2 | convolution_param { kernel_size: 1 }
    takes one bottom and makes one top
ConvolutionDepthwise | 1x4x3x3 | 1 | convolution_param { kernel_size: 1 axis: 2 }
    option convolution_param.axis is not supported
ReLU6 | 2 | 1 | relu6_param { threshold: 0 }
    threshold must be positive, not 0
Axpy | 2x3x1x2 2x3x4x4 2x3x4x4 | 1 |
    its first bottom must be one factor for each channel of the second: 2x3, or that with axes of 1 behind it
Axpy | 2x3 2x3x4x4 2x3x4x5 | 1 |
    its second and third bottom must have one shape
Axpy | 2x3 2x3x4x4 | 1 |
    has 2 bottoms where it takes 3
ShuffleChannel | 2x6 | 1 | shuffle_channel_param { group: 4 }
    group 4 must divide the number of its channels, 6
ShuffleChannel | 6 | 1 |
    its bottom needs at least 2 axes, N x C
Reorg | 1x4x4x4 | 1 |
    stride must be set and positive
Reorg | 1x4x4 | 1 | reorg_param { stride: 2 }
    its bottom needs 4 axes, N x C x H x W
Reorg | 1x6x4x4 | 1 | reorg_param { stride: 2 reverse: true }
    stride 2 squared must divide the number of its channels, 6
Reorg | 1x4x4x5 | 1 | reorg_param { stride: 2 }
    stride 2 must divide the size of its image, 4x5
Interp | 1x4x4x5 | 1 | interp_param { height: 3 }
    give shrink_factor, zoom_factor, or height and width
Interp | 1x4x4 | 1 | interp_param { zoom_factor: 2 }
    its bottom needs 4 axes, N x C x H x W
Interp | 1x4x4x5 | 1 | interp_param { zoom_factor: 2 pad_beg: 1 }
    pad_beg 1 and pad_end 0 must not be positive: the layer only cuts off
Interp | 1x4x4x5 | 1 | interp_param { zoom_factor: 2 shrink_factor: 0 }
    shrink_factor 0 and zoom_factor 2 must be positive
Interp | 1x4x4x5 | 1 | interp_param { height: 2 width: 2 pad_beg: -2 pad_end: -2 }
    its top would be of 2x2, from what pad_beg and pad_end leave of its bottom
Interp | 1x4x4x5 | 1 | interp_param { height: 0 width: 2 }
    its top would be of 0x2
Interp | 1x4x4x5 | 1 | interp_param { height: 3 width: 3 mode: NEAREST }
    option interp_param.mode is not supported
Interp | 1x4x4x5 | 1 | interp_param { use_blob_size: true }
    a second bottom, which the top has the size of, goes with use_blob_size
Interp | 1x4x4x5 1x4x4x5 | 1 | interp_param { height: 3 width: 3 }
    a second bottom, which the top has the size of, goes with use_blob_size
Interp | 1x4x4x5 1x4 | 1 | interp_param { use_blob_size: true }
    its second bottom needs 4 axes, N x C x H x W
UpsampleDarknet | 1x4x4 | 1 |
    its bottom needs 4 axes, N x C x H x W
UpsampleDarknet | 1x4x4x5 | 1 | upsample_darknet_param { stride: 0 }
    stride must be positive, not 0
Squeeze | 1x4x1 | 1 | squeeze_param { axis: 0 axis: 1 }
    axis 1 has a size of 4: only an axis of 1 can go
Squeeze | 1x4 | 1 | squeeze_param { axis: 2 }
    axis 2 does not exist in a blob of 2 axes
BatchNorm | 4x2 | 1 | batch_norm_param { add_eps_before_sqrt: false }
    add_eps_before_sqrt: false goes with stored statistics alone, as in TEST
Upsample | 1x4x4 | 1 | upsample_param { scale: 2 }
    its bottom needs 4 axes, N x C x H x W
Upsample | 1x4x4x5 | 1 |
    scale must be set, to a whole number, not 0
Upsample | 1x4x4x5 | 1 | upsample_param { scale: 1.5 }
    scale must be set, to a whole number, not 1.5
Upsample | 1x4x4x5 | 1 | upsample_param { scale: 2 upsample_h: 8 }
    without a mask, a second bottom, it takes scale alone, not upsample_h
Upsample | 1x4x4x5 1x4x4x4 | 1 |
    its second bottom, the mask, must have the shape of the first
Upsample | 1x4x4x5 1x4x4x5 | 1 | upsample_param { upsample_h: 8 }
    upsample_h and upsample_w are needed both
Upsample | 1x4x4x5 1x4x4x5 | 1 | upsample_param { upsample_h: 8 upsample_w: 1 }
    upsample_h 8 and upsample_w 1 must be at least 2
Upsample | 1x4x4x5 1x4x4x5 | 1 | upsample_param { scale: 3 pad_out_h: true }
    pad_out_h and pad_out_w go with a scale of 2
Upsample | 1x4x4x5 1x4x4x5 | 1 | upsample_param { scale: 2 scale_h: 2 scale_w: 2 }
    give scale, or both scale_h and scale_w
Upsample | 1x4x4x5 1x4x4x5 | 1 | upsample_param { scale_h: 2 }
    give scale, or both scale_h and scale_w
Upsample | 1x4x4x5 1x4x4x5 | 1 | upsample_param { scale_h: 2 scale_w: 1 }
    a scale must be a whole number of at least 2, not 1
Local | 1x2x4 | 1 | local_param { num_output: 2 kernel_size: 3 }
    its bottom needs 4 axes, N x C x H x W
Local | 1x2x4x4 | 1 | local_param { num_output: 2 }
    num_output, kernel_size and stride must be positive
Local | 1x2x4x2 | 1 | local_param { num_output: 2 kernel_size: 3 pad: 1 }
    kernel_size 3 is larger than its image, 4x2
Resample | 1x2x4 | 1 | resample_param { width: 2 height: 2 }
    its bottoms need 4 axes, N x C x H x W
Resample | 1x2x4x4 | 1 | resample_param { width: 2 height: 2 type: AREA }
    type AREA is not supported, nor is it by the fork
Resample | 1x2x4x4 | 1 | resample_param { width: 2 }
    height 0 and width 2 must be positive
Resample | 1x2x4x4 | 1 | resample_param { height: 1 width: 8 type: NEAREST }
    NEAREST would take pixels outside of its bottom: resize both axes alike
Convolution | 1x2x4x4 | 1 | convolution_param { num_output: 2 kernel_size: 1 hole: 2 dilation: 2 }
    option convolution_param.hole is not supported
SoftmaxWithLoss | 2x3 2 | 1 | softmaxloss_param { ignore_label: 1 ignore_label: 2 }
    of softmaxloss_param one ignore_label is read, and no weight_source
L1Loss | 2x3 2x4 | 1 |
    its bottoms must have as many values
L1Loss | 2x3 3x2 | 1 |
    its bottoms must have the same number of items
L1Loss | 2 2 | 1 | l1_loss_param { l2_per_location: true }
    its bottoms need at least 2 axes, N x C
EuclideanLoss | 2x3 2x3 | 1 | euclidean_loss_param { coeff: 10 }
    takes no options, which are in euclidean_loss_param
TripletLoss | 2x3 2x3 2x4 | 1 |
    its bottoms must have as many values
TripletLoss | 2x3 2x3 2x3 | 1 | triplet_loss_param { group_size: 4 }
    option triplet_loss_param.group_size is not supported
SpatialDropout | 2 | 1 |
    its bottom needs at least 2 axes, N x C
SegAccuracy | 2 2 | 1 |
    its first bottom needs at least 2 axes, N x C
SegAccuracy | 2x3x4 2x3 | 1 |
    needs 8 labels
SegAccuracy | 2x3x4 2x4 | 1 | seg_accuracy_param { reset: false }
    option seg_accuracy_param.reset is not supported
FlowWarp | 1x3x4x4 1x3x4x4 | 1 |
    its bottoms must be N x C x H x W and N x 2 x H x W
ChannelNorm | 3 | 1 |
    its bottom needs at least 2 axes, N x C
Downsample | 1x3x4 | 1 | downsample_param { top_height: 2 top_width: 2 }
    its bottoms need 4 axes, N x C x H x W
Downsample | 1x3x4x5 | 1 | downsample_param { top_height: 5 top_width: 2 }
    its top of 5x2 must be at least 2x2, and no larger than 4x5
Convolution3D | 1x2x4x4 | 1 | convolution_param { num_output: 2 kernel_size: 3 kernel_depth: 3 }
    its bottom needs 5 axes, N x C x L x H x W
Convolution3D | 1x2x4x4x4 | 1 | convolution_param { num_output: 2 kernel_size: 3 }
    kernel_size, kernel_depth and strides must be set and positive
Convolution3D | 1x2x4x4x4 | 1 | convolution_param { num_output: 2 kernel_size: [3, 2] kernel_depth: 3 }
    kernel_size takes one figure, for height and width
Convolution3D | 1x2x4x4x4 | 1 | convolution_param { num_output: 2 kernel_size: 3 kernel_depth: 3 dilation: 2 }
    option convolution_param.dilation is not supported
Convolution3D | 1x2x4x4x4 | 1 | convolution_param { num_output: 2 } convolution3d_param { num_output: 2 }
    takes convolution3d_param or convolution_param, not both
Convolution3D | 1x2x4x4x2 | 1 | convolution_param { num_output: 2 kernel_size: 3 kernel_depth: 3 }
    the kernel
Pooling3D | 1x2x4x4 | 1 | pooling_param { kernel_size: 2 kernel_depth: 2 }
    its bottom needs 5 axes, N x C x L x H x W
Pooling3D | 1x2x4x4x4 | 1 | pooling_param { pool: STOCHASTIC kernel_size: 2 kernel_depth: 2 }
    pool STOCHASTIC is not supported
Pooling3D | 1x2x4x4x4 | 1 | pooling_param { kernel_size: 2 kernel_depth: 2 pad: 2 }
    pad must be smaller than the kernel
Pooling3D | 1x2x4x4x4 | 1 | pooling_param { kernel_size: 2 kernel_depth: 2 global_pooling: true }
    option pooling_param.global_pooling is not supported
CenterLoss | 2x3 2 | 1 |
    num_output must be set and positive
CenterLoss | 2x3 2x3 | 1 | center_loss_param { num_output: 4 }
    its second bottom needs one label for each item
CenterLoss | 2x3x4 2 | 1 | center_loss_param { num_output: 4 axis: 2 }
    axis must be 1, not 2
CenterLoss | 2x3 2 | 1 | center_loss_param { num_output: 4 distance_type: "cosine" }
    distance_type cosine is neither L1 nor L2
MarginInnerProduct | 2x3 2x3 | 2 | margin_inner_product_param { num_output: 4 }
    its second bottom needs one label for each item
MarginInnerProduct | 2x3x4 2 | 1 | margin_inner_product_param { num_output: 4 axis: 2 }
    axis must be 1, not 2
MarginInnerProduct | 2x3 2 | 1 |
    num_output must be set and positive
SpatialTransformer | 2x3x4 2x6 | 1 |
    its first bottom needs 4 axes, N x C x H x W
SpatialTransformer | 2x3x4x4 2x6 | 1 | st_param { theta_1_2: 0 }
    its second bottom needs 5 numbers for each item, six less those that are given
SpatialTransformer | 2x3x4x4 2x6 | 1 | st_param { sampler_type: "nearest" }
    transform_type must be affine, and sampler_type bilinear
SpatialTransformer | 2x3x4x4 2x6 | 1 | st_param { output_H: 0 }
    output_H 0 and output_W 4 must be positive
YoloDetectionOutput | 1x7x3x3 | 1 |
    yolo_detection_output_param.num_classes must be set
YoloDetectionOutput | 1x7x3x3 | 1 | yolo_detection_output_param { num_classes: 2 num_box: 1 coords: 5 }
    coords must be 4, not 5
YoloDetectionOutput | 1x7x3x3 | 1 | yolo_detection_output_param { num_classes: 2 num_box: 1 biases: 2 }
    needs two biases for each of its boxes, not 1 in all
YoloDetectionOutput | 2x7x3x3 | 1 | yolo_detection_output_param { num_classes: 2 num_box: 1 biases: [2, 2] }
    its bottoms must be 1 x 7 x S x S, one image with num_box (5 + num_classes) channels, not 2x7x3x3
YoloDetectionOutput | 1x7x3x4 | 1 | yolo_detection_output_param { num_classes: 2 num_box: 1 biases: [2, 2] }
    its bottoms must be 1 x 7 x S x S, one image with num_box (5 + num_classes) channels, not 1x7x3x4
Yolov3DetectionOutput | 1x7x3x3 | 1 | yolov3_detection_output_param { num_classes: 2 anchors_scale: 32 }
    mask_group_num and positive anchors_scale must be as many as its bottoms, 1
Yolov3DetectionOutput | 1x7x3x3 | 1 | yolov3_detection_output_param { num_classes: 2 mask_group_num: 1 anchors_scale:0 }
    mask_group_num and positive anchors_scale must be as many as its bottoms, 1
Yolov3DetectionOutput | 1x7x3x3 | 1 | yolov3_detection_output_param { num_classes: 2 mask_group_num: 1 anchors_scale:8 }
    0 mask are too few for 1 bottoms with a num_box of 3
Unpooling | 1x2x3 | 1 | unpooling_param { kernel_size: 2 unpool_size: 4 }
    its bottom needs 4 axes, N x C x H x W
Unpooling | 1x2x3x3 | 1 | unpooling_param { kernel_size: 2 }
    give unpool_size, or else unpool_h and unpool_w
Unpooling | 1x2x3x3 | 1 | unpooling_param { kernel_size: 2 kernel_h: 2 kernel_w: 2 unpool_size: 4 }
    give kernel_size, or else kernel_h and kernel_w
Unpooling | 1x2x3x3 | 1 | unpooling_param { kernel_size: 2 stride_h: 2 unpool_size: 4 }
    give stride, or else stride_h and stride_w
Unpooling | 1x2x3x3 | 1 | unpooling_param { kernel_size: 0 unpool_size: 4 }
    kernel_size must be positive
Unpooling | 1x2x3x3 | 1 | unpooling_param { kernel_size: 2 unpool_size: 4 pad: 1 }
    pad must be 0, as in the fork
Unpooling | 1x2x3x3 1x2x3x3 | 1 | unpooling_param { unpool: AVE kernel_size: 2 unpool_size: 4 }
    its second bottom, the mask, goes with MAX and must have the shape of the first
Unpooling | 1x2x3x3 | 1 | unpooling_param { unpool: TILE kernel_size: 2 stride: 2 unpool_size: 4 }
    its top of 4x4 ends before the last of its windows begins
BN | 4 | 1 |
    its bottom needs at least 2 axes, N x C
BN | 4x2 | 1 | bn_param { bn_mode: LEARN frozen: true }
    bn_param.bn_mode is of SegNet's BN and frozen of PSPNet's: they do not go together
BN | 4x2 | 1 | bn_param { scale_filler { value: 1 } eps: 0.1 icnet: true }
    option bn_param.icnet is not supported; layer 'l' (BN): bn_param.scale_filler is of SegNet's BN and eps of PSPNet's
BN | 4x2 | 1 | bn_param { bn_mode: LEARN decay: 0.1 }
    bn_param.bn_mode is of SegNet's BN and decay of caffe-windows': they do not go together
BN | 4x2 | 1 | bn_param { scale_filler { value: 1 } moving_average: true }
    set decay and moving_average: forks have different defaults for them
BN | 4x2 | 1 | bn_param { decay: 0.1 moving_average: true axis: 2 }
    decay must be 0 to 1, not 0.1, and axis 1, not 2
BN | 4x2 | 1 | bn_param { momentum: 1.5 }
    momentum must be 0 to 1, not 1.5
BN | 4x2 | 2 | bn_param { bn_mode: INFERENCE }
    a second and third top, the batch's statistics, go with SegNet's bn_mode: LEARN alone
CtcLoss | 4x2x5 3x2 | 1 | ctc_loss_param { alphabet_size: 5 time_step: 4 }
    its bottoms must be T x N x C and N x L
CtcLoss | 4x2x5 2x2 | 1 | ctc_loss_param { alphabet_size: 5 }
    time_step 0 must be set to the 4 of its first bottom, 4x2x5
CtcLoss | 4x2x5 2x2 | 1 | ctc_loss_param { alphabet_size: 6 time_step: 4 }
    alphabet_size 6 must be set to the 5 of its first bottom, 4x2x5
CtcLoss | 4x2x5 2x2 | 1 | ctc_loss_param { alphabet_size: 5 time_step: 4 blank_label: 5 }
    blank_label 5 must be 0 to 4
LabelsequenceAccuracy | 4x2x5 2x2 | 1 |
    its bottoms must be N x T x C and N x L
ContinuationIndicator |  | 1 | continuation_indicator_param { batch_size: 4 }
    continuation_indicator_param.time_step must be set and positive
ContinuationIndicator | 3x4 | 1 | continuation_indicator_param { time_step: 2 batch_size: 4 }
    takes a bottom, for the size of its axis, or else continuation_indicator_param.batch_size
ContinuationIndicator | 3x4 | 1 | continuation_indicator_param { time_step: 2 axis: 2 }
    axis 2 does not exist in a blob of 2 axes
Reverse | 3x4 | 1 | reverse_param { axis: 2 }
    axis 2 does not exist in a blob of 2 axes
Correlation | 1x2x4x4 1x2x4x5 | 1 | correlation_param { kernel_size: 1 max_displacement: 1 }
    its bottoms must be N x C x H x W, both of one shape
Correlation | 1x2x4x4 1x2x4x4 | 1 | correlation_param { kernel_size: 1 }
    kernel_size and max_displacement must be set
Correlation | 1x2x4x4 1x2x4x4 | 1 | correlation_param { kernel_size: 2 max_displacement: 1 }
    kernel_size must be odd, and stride_1 and stride_2 positive
Correlation | 1x2x4x4 1x2x4x4 | 1 | correlation_param { kernel_size: 3 max_displacement: 1 }
    its bottoms with their padding are smaller than a patch and its displacements
Correlation | 1x2x4x4 1x2x4x4 | 1 | correlation_param { kernel_size: 1 max_displacement: 1 do_abs: true }
    option correlation_param.do_abs is not supported
Lstm | 4 | 1 | lstm_param { num_output: 2 }
    x must be T x N x any, or T N x any where N is the batch_size 1
Lstm | 4x3 | 1 | lstm_param { num_output: 2 batch_size: 3 }
    x must be T x N x any, or T N x any where N is the batch_size 3
Lstm | 4x2x3 4 | 1 | lstm_param { num_output: 2 }
    its second bottom needs 8 values, one for each item at each step
Lstm | 4x2x3 | 1 |
    num_output must be set and positive
Lstm | 4x2x3 | 1 | lstm_param { num_output: 2 clipping_threshold: -1 }
    clipping_threshold must not be negative, not -1
Lstm | 4x2x3 | 1 | lstm_param { num_output: 2 scale_in: 2 }
    option lstm_param.scale_in is not supported
ResizeBilinear | 1x2x3 | 1 |
    its bottom needs 4 axes, N x H x W x C, or with data_format NCHW N x C x H x W
ResizeBilinear | 1x2x3x4 | 1 | resize_bilinear_param { data_format: "NCHWD" }
    data_format NCHWD is neither NHWC nor NCHW
ResizeBilinear | 1x2x3x4 | 1 | resize_bilinear_param { align_corners: true half_pixel_centers: true }
    align_corners and half_pixel_centers exclude each other
ResizeBilinear | 1x2x3x4 | 1 | resize_bilinear_param { scale_height: 0.2 }
    its top would be of 0x3: set output_height and output_width, or scales
ResizeBilinear | 1x2x3x4 | 1 | resize_bilinear_param { output_scale: 0.5 output_depth: 2 }
    option resize_bilinear_param.output_depth is not supported
ResizeNearestNeighbor | 1x2x3x4 | 1 | resize_nearest_neighbor_param { half_pixel_onnx: true }
    option resize_nearest_neighbor_param.half_pixel_onnx is not supported
Pad | 2x3 | 1 | pad_param { paddings: [1, 2, 3] }
    paddings need 4 figures, two for each axis of its bottom, not 3
Transpose | 2x3x4 | 1 | transpose_param { dim: [0, 2] }
    dim [0, 2] must name the axes of its bottom, 0 to 2, each once
Pooling | 1x1x5x5 | 1 | pooling_param { kernel_size: 2 pool: AVE_EXC_PAD pad_type: 1 }
    option pooling_param.pad_type is not supported
Pooling | 1x1x5x5 | 1 | pooling_param { kernel_size: 2 pool: LOWRES }
    pool LOWRES is not supported
BN | 4x2 | 1 | bn_param { frozen: true icnet: true }
    option bn_param.icnet is not supported
"""
