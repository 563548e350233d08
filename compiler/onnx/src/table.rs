//! Operators of ONNX as text of the language.
//!
//! `{0}` is an input, `{*}` are all of them, `{1:list}` is one that is known when compiling, `{1:number}` one that is a
//! single number then, `{1:ratios}` a list of numbers as pairs of integers, `{1:dims}` a list in which
//! 0 stands for the size that the first input has there, `{1:tensor}` one that is made a tensor, `{@axis}` an attribute, `{@to:type}` one that is an element type. What stands in `< >` is left out where its
//! input or attribute is not given.

/// One operator, from a version of the standard on.
pub struct Row {
    pub op: &'static str,
    pub since: i64,
    pub text: &'static str,
    /// How its outputs are found in the value of the text; empty if that is the only output.
    pub results: &'static [&'static str],
    /// Inputs that say nothing that the text needs.
    pub ignored: &'static [usize],
    /// Attributes that say nothing that is not known otherwise, or that must have this value.
    pub fixed: &'static [(&'static str, Option<&'static str>)],
}

const fn row(op: &'static str, since: i64, text: &'static str) -> Row {
    Row { op, since, text, results: &[], ignored: &[], fixed: &[] }
}

impl Row {
    const fn fixed(self, fixed: &'static [(&'static str, Option<&'static str>)]) -> Row {
        Row { fixed, ..self }
    }

    const fn ignored(self, ignored: &'static [usize]) -> Row {
        Row { ignored, ..self }
    }

    const fn results(self, results: &'static [&'static str]) -> Row {
        Row { results, ..self }
    }
}

/// Parts of a list, as many as an operator may have outputs.
const EACH: &[&str] = &[
    "[0]", "[1]", "[2]", "[3]", "[4]", "[5]", "[6]", "[7]", "[8]", "[9]", "[10]", "[11]", "[12]", "[13]", "[14]",
    "[15]",
];

/// For each operator its versions, the newest last.
pub const ROWS: &[Row] = &[
    row("Abs", 1, "abs({0})"),
    row("Acos", 7, "acos({0})"),
    row("Acosh", 9, "acosh({0})"),
    row("Add", 7, "{0} + {1}"),
    row("And", 7, "{0} and {1}"),
    row("ArgMax", 1, "onnx_argmax({0}<, axis = {@axis}><, keep = {@keepdims}>)").fixed(&[("select_last_index", Some("0"))]),
    row("ArgMin", 1, "onnx_argmax(-{0}<, axis = {@axis}><, keep = {@keepdims}>)").fixed(&[("select_last_index", Some("0"))]),
    row("Asin", 7, "asin({0})"),
    row("Asinh", 9, "asinh({0})"),
    row("Atan", 7, "atan({0})"),
    row("Atanh", 9, "atanh({0})"),
    row("AveragePool", 1, "onnx_average_pool({0}, {@kernel_shape}<, strides = {@strides}><, pads = {@pads}><, ceil = {@ceil_mode}><, count_pad = {@count_include_pad}><, auto_pad = {@auto_pad}>)"),
    row("BatchNormalization", 9, "onnx_batch_norm({0}, {1:tensor}, {2:tensor}, {3:tensor}, {4:tensor}<, eps = {@epsilon}>)").fixed(&[("momentum", None), ("training_mode", Some("0"))]),
    row("Cast", 6, "cast({0:tensor}, {@to:type})").fixed(&[("saturate", None)]),
    row("Ceil", 1, "ceil({0})"),
    row("Celu", 12, "celu({0}<, alpha = {@alpha}>)"),
    row("Clip", 6, "onnx_clip({0}<, low = {@min}><, high = {@max}>)"),
    row("Clip", 11, "onnx_clip({0}<, low = {1}><, high = {2}>)"),
    row("Concat", 4, "concat([{*}], axis = {@axis})"),
    row("Conv", 1, "onnx_conv({0}, {1:tensor}<, {2:tensor}><, strides = {@strides}><, pads = {@pads}><, dilations = {@dilations}><, groups = {@group}><, auto_pad = {@auto_pad}>)").fixed(&[("kernel_shape", None)]),
    row("ConvTranspose", 1, "onnx_conv_transpose({0}, {1:tensor}<, {2:tensor}><, strides = {@strides}><, pads = {@pads}><, dilations = {@dilations}><, groups = {@group}><, output_padding = {@output_padding}>)").fixed(&[("kernel_shape", None), ("auto_pad", Some("\"NOTSET\""))]),
    row("Cos", 7, "cos({0})"),
    row("Cosh", 9, "cosh({0})"),
    row("CumSum", 11, "onnx_cumsum({0:tensor}, {1:number}<, exclusive = {@exclusive}><, backward = {@reverse}>)"),
    row("DepthToSpace", 1, "onnx_depth_to_space({0}, {@blocksize}<, mode = {@mode}>)"),
    row("Div", 7, "{0} / {1}"),
    row("Elu", 6, "elu({0}<, alpha = {@alpha}>)"),
    row("Equal", 7, "{0} == {1}"),
    row("Erf", 9, "erf({0})"),
    row("Exp", 6, "exp({0})"),
    row("Expand", 8, "onnx_expand({0:tensor}, {1:list})"),
    row("Flatten", 9, "onnx_flatten({0}<, axis = {@axis}>)"),
    row("Floor", 6, "floor({0})"),
    row("GRU", 7, "onnx_gru({0}, {1}, {2}<, b = {3}><, h0 = {5}><, linear_before_reset = {@linear_before_reset}><, direction = {@direction}>)").results(&[".y", ".h"]).fixed(&[("hidden_size", None)]),
    row("Gather", 1, "onnx_gather({0:tensor}, {1:tensor}<, axis = {@axis}>)"),
    row("GatherElements", 11, "onnx_gather_elements({0:tensor}, {1:tensor}<, axis = {@axis}>)"),
    row("Gelu", 20, "onnx_gelu({0}<, approximate = {@approximate}>)"),
    row("Gemm", 7, "onnx_gemm({0}, {1}<, {2}><, alpha = {@alpha}><, beta = {@beta}><, trans_a = {@transA}><, trans_b = {@transB}>)"),
    row("GlobalAveragePool", 1, "onnx_global_average_pool({0})"),
    row("GlobalMaxPool", 1, "onnx_global_max_pool({0})"),
    row("Greater", 7, "{0} > {1}"),
    row("GreaterOrEqual", 12, "{0} >= {1}"),
    row("HardSigmoid", 6, "onnx_hard_sigmoid({0}<, alpha = {@alpha}><, beta = {@beta}>)"),
    row("HardSwish", 14, "hard_swish({0})"),
    row("InstanceNormalization", 6, "onnx_instance_norm({0}, {1:tensor}, {2:tensor}<, eps = {@epsilon}>)"),
    row("IsNaN", 9, "isnan({0})"),
    row("LSTM", 7, "onnx_lstm({0}, {1}, {2}<, b = {3}><, h0 = {5}><, c0 = {6}><, direction = {@direction}>)").results(&[".y", ".h", ".c"]).fixed(&[("hidden_size", None)]),
    row("LayerNormalization", 17, "onnx_layer_norm({0}, {1}<, {2}><, axis = {@axis}><, eps = {@epsilon}>)").fixed(&[("stash_type", Some("1"))]),
    row("LeakyRelu", 6, "leaky_relu({0}<, {@alpha}>)"),
    row("Less", 7, "{0} < {1}"),
    row("LessOrEqual", 12, "{0} <= {1}"),
    row("Log", 6, "log({0})"),
    row("LogSoftmax", 13, "log(onnx_softmax({0}<, axis = {@axis}>))"),
    row("MatMul", 1, "onnx_matmul({0}, {1})"),
    row("Max", 8, "onnx_folded([{*}], maximum)"),
    row("MaxPool", 1, "onnx_max_pool({0}, {@kernel_shape}<, strides = {@strides}><, pads = {@pads}><, dilations = {@dilations}><, ceil = {@ceil_mode}><, auto_pad = {@auto_pad}>)").fixed(&[("storage_order", Some("0"))]),
    row("Mean", 8, "onnx_folded([{*}], (a, b) => a + b) / len([{*}])"),
    row("Min", 8, "onnx_folded([{*}], minimum)"),
    row("Mish", 18, "mish({0})"),
    row("Mul", 7, "{0} * {1}"),
    row("Neg", 6, "-{0}"),
    row("Not", 1, "not {0}"),
    row("Or", 7, "{0} or {1}"),
    row("PRelu", 7, "onnx_prelu({0}, {1:tensor})"),
    row("Pad", 2, "onnx_pad({0:tensor}, {@pads}<, value = {@value}><, mode = {@mode}>)"),
    row("Pad", 11, "onnx_pad({0:tensor}, {1:list}<, value = {2}><, axes = {3:list}><, mode = {@mode}>)"),
    row("Pow", 7, "{0} ** {1}"),
    row("Range", 11, "onnx_range({0:number}, {1:number}, {2:number})"),
    row("Reciprocal", 6, "reciprocal({0})"),
    row("ReduceL1", 1, "onnx_reduce(abs({0}), sum<, axes = {@axes}><, keep = {@keepdims}>)"),
    row("ReduceL1", 18, "onnx_reduce(abs({0}), sum<, axes = {1:list}><, keep = {@keepdims}><, noop = {@noop_with_empty_axes}>)"),
    row("ReduceL2", 1, "sqrt(onnx_reduce(square({0}), sum<, axes = {@axes}><, keep = {@keepdims}>))"),
    row("ReduceL2", 18, "sqrt(onnx_reduce(square({0}), sum<, axes = {1:list}><, keep = {@keepdims}><, noop = {@noop_with_empty_axes}>))"),
    row("ReduceLogSumExp", 1, "onnx_reduce({0}, logsumexp<, axes = {@axes}><, keep = {@keepdims}>)"),
    row("ReduceLogSumExp", 18, "onnx_reduce({0}, logsumexp<, axes = {1:list}><, keep = {@keepdims}><, noop = {@noop_with_empty_axes}>)"),
    row("ReduceMax", 1, "onnx_reduce({0}, max<, axes = {@axes}><, keep = {@keepdims}>)"),
    row("ReduceMax", 18, "onnx_reduce({0}, max<, axes = {1:list}><, keep = {@keepdims}><, noop = {@noop_with_empty_axes}>)"),
    row("ReduceMean", 1, "onnx_reduce({0}, mean<, axes = {@axes}><, keep = {@keepdims}>)"),
    row("ReduceMean", 18, "onnx_reduce({0}, mean<, axes = {1:list}><, keep = {@keepdims}><, noop = {@noop_with_empty_axes}>)"),
    row("ReduceMin", 1, "onnx_reduce({0}, min<, axes = {@axes}><, keep = {@keepdims}>)"),
    row("ReduceMin", 18, "onnx_reduce({0}, min<, axes = {1:list}><, keep = {@keepdims}><, noop = {@noop_with_empty_axes}>)"),
    row("ReduceProd", 1, "onnx_reduce({0}, prod<, axes = {@axes}><, keep = {@keepdims}>)"),
    row("ReduceProd", 18, "onnx_reduce({0}, prod<, axes = {1:list}><, keep = {@keepdims}><, noop = {@noop_with_empty_axes}>)"),
    row("ReduceSum", 1, "onnx_reduce({0}, sum<, axes = {@axes}><, keep = {@keepdims}>)"),
    row("ReduceSum", 13, "onnx_reduce({0}, sum<, axes = {1:list}><, keep = {@keepdims}><, noop = {@noop_with_empty_axes}>)"),
    row("ReduceSumSquare", 1, "onnx_reduce(square({0}), sum<, axes = {@axes}><, keep = {@keepdims}>)"),
    row("ReduceSumSquare", 18, "onnx_reduce(square({0}), sum<, axes = {1:list}><, keep = {@keepdims}><, noop = {@noop_with_empty_axes}>)"),
    row("Relu", 6, "relu({0})"),
    row("Reshape", 5, "onnx_reshape({0:tensor}, {1:dims})").fixed(&[("allowzero", Some("0"))]),
    row("Resize", 10, "onnx_resize({0}<, ratios = {1:ratios}><, mode = {@mode}>, at = \"asymmetric\", nearest = \"floor\")"),
    row("Resize", 11, "onnx_resize({0}<, ratios = {2:ratios}><, sizes = {3:list}><, mode = {@mode}><, at = {@coordinate_transformation_mode}><, nearest = {@nearest_mode}><, cubic = {@cubic_coeff_a}>)").fixed(&[("antialias", Some("0")), ("exclude_outside", Some("0")), ("keep_aspect_ratio_policy", Some("\"stretch\"")), ("extrapolation_value", None)]).ignored(&[1]),
    row("Round", 11, "round({0})"),
    row("ScatterElements", 11, "onnx_scatter_elements({0:tensor}, {1:tensor}, {2:tensor}<, axis = {@axis}><, reduction = {@reduction}>)"),
    row("Selu", 6, "selu({0})").fixed(&[("alpha", Some("1.6732632")), ("gamma", Some("1.050701"))]),
    row("Sigmoid", 6, "sigmoid({0})"),
    row("Sign", 9, "sign({0})"),
    row("Sin", 7, "sin({0})"),
    row("Sinh", 9, "sinh({0})"),
    row("Slice", 10, "onnx_slice({0:tensor}, {1:list}, {2:list}<, {3:list}><, steps = {4:list}>)"),
    row("Softmax", 1, "onnx_flat_softmax({0}<, axis = {@axis}>)"),
    row("Softmax", 13, "onnx_softmax({0}<, axis = {@axis}>)"),
    row("Softplus", 1, "softplus({0})"),
    row("Softsign", 1, "softsign({0})"),
    row("SpaceToDepth", 1, "onnx_space_to_depth({0}, {@blocksize})"),
    row("Split", 2, "onnx_split({0:tensor}, {outputs}<, axis = {@axis}><, sizes = {@split}>)").results(EACH),
    row("Split", 13, "onnx_split({0:tensor}, {outputs}<, axis = {@axis}><, sizes = {1:list}>)").results(EACH).fixed(&[("num_outputs", None)]),
    row("Sqrt", 6, "sqrt({0})"),
    row("Squeeze", 1, "onnx_squeeze({0:tensor}<, axes = {@axes}>)"),
    row("Squeeze", 13, "onnx_squeeze({0:tensor}<, axes = {1:list}>)"),
    row("Sub", 7, "{0} - {1}"),
    row("Sum", 8, "onnx_folded([{*}], (a, b) => a + b)"),
    row("Tan", 7, "tan({0})"),
    row("Tanh", 6, "tanh({0})"),
    row("ThresholdedRelu", 10, "onnx_thresholded_relu({0}<, alpha = {@alpha}>)"),
    row("Tile", 6, "onnx_tile({0:tensor}, {1:list})"),
    row("Transpose", 1, "onnx_transpose({0:tensor}<, {@perm}>)"),
    row("Trilu", 14, "onnx_trilu({0}<, diagonal = {1:number}><, upper = {@upper}>)"),
    row("Unsqueeze", 1, "onnx_unsqueeze({0:tensor}, {@axes})"),
    row("Unsqueeze", 13, "onnx_unsqueeze({0:tensor}, {1:list})"),
    row("Upsample", 9, "onnx_resize({0}, ratios = {1:ratios}<, mode = {@mode}>, at = \"asymmetric\", nearest = \"floor\")"),
    row("Where", 9, "where({0}, {1:tensor}, {2:tensor})"),
    row("Xor", 7, "{0} != {1}"),
];

/// The row of an operator in a version of the standard; none if there is no such operator here.
pub fn find(op: &str, version: i64) -> Option<&'static Row> {
    ROWS.iter().rfind(|row| row.op == op && row.since <= version)
}
