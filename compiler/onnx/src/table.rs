//! Operators of ONNX as text of the language.
//!
//! `{0}` is an input, `{*}` are all of them, `{1:list}` is one that is known when compiling, `{1:tensor}` one that is made a
//! tensor, `{@axis}` an attribute, `{@to:type}` one that is an element type. What stands in `< >` is left out where its
//! input or attribute is not given.

/// One operator, from a version of the standard on.
pub struct Row {
    pub op: &'static str,
    pub since: i64,
    pub text: &'static str,
    /// How its outputs are found in the value of the text; empty if that is the only output.
    pub results: &'static [&'static str],
    /// Attributes that say nothing that is not known otherwise, or that must have this value.
    pub fixed: &'static [(&'static str, Option<&'static str>)],
}

const fn row(op: &'static str, since: i64, text: &'static str) -> Row {
    Row { op, since, text, results: &[], fixed: &[] }
}

impl Row {
    const fn fixed(self, fixed: &'static [(&'static str, Option<&'static str>)]) -> Row {
        Row { fixed, ..self }
    }

    const fn results(self, results: &'static [&'static str]) -> Row {
        Row { results, ..self }
    }
}

/// For each operator its versions, the newest last.
pub const ROWS: &[Row] = &[
    row("Abs", 1, "abs({0})"),
    row("Add", 7, "{0} + {1}"),
    row("And", 7, "{0} and {1}"),
    row("AveragePool", 1, "onnx_average_pool({0}, {@kernel_shape}<, strides = {@strides}><, pads = {@pads}><, ceil = {@ceil_mode}><, count_pad = {@count_include_pad}><, auto_pad = {@auto_pad}>)"),
    row("BatchNormalization", 9, "onnx_batch_norm({0}, {1}, {2}, {3}, {4}<, eps = {@epsilon}>)").fixed(&[("momentum", None), ("training_mode", Some("0"))]),
    row("Cast", 6, "cast({0:tensor}, {@to:type})").fixed(&[("saturate", None)]),
    row("Ceil", 1, "ceil({0})"),
    row("Clip", 6, "onnx_clip({0}<, low = {@min}><, high = {@max}>)"),
    row("Clip", 11, "onnx_clip({0}<, low = {1}><, high = {2}>)"),
    row("Concat", 4, "concat([{*}], axis = {@axis})"),
    row("Conv", 1, "onnx_conv({0}, {1}<, {2}><, strides = {@strides}><, pads = {@pads}><, dilations = {@dilations}><, groups = {@group}><, auto_pad = {@auto_pad}>)").fixed(&[("kernel_shape", None)]),
    row("ConvTranspose", 1, "onnx_conv_transpose({0}, {1}<, {2}><, strides = {@strides}><, pads = {@pads}><, dilations = {@dilations}><, groups = {@group}><, output_padding = {@output_padding}>)").fixed(&[("kernel_shape", None), ("auto_pad", Some("\"NOTSET\""))]),
    row("Cos", 7, "cos({0})"),
    row("Div", 7, "{0} / {1}"),
    row("Equal", 7, "{0} == {1}"),
    row("Erf", 9, "erf({0})"),
    row("Exp", 6, "exp({0})"),
    row("Expand", 8, "onnx_expand({0:tensor}, {1:list})"),
    row("Flatten", 9, "onnx_flatten({0}<, axis = {@axis}>)"),
    row("Floor", 6, "floor({0})"),
    row("GRU", 7, "onnx_gru({0}, {1}, {2}<, b = {3}><, h0 = {5}><, linear_before_reset = {@linear_before_reset}><, direction = {@direction}>)").results(&[".y", ".h"]).fixed(&[("hidden_size", None)]),
    row("Gather", 1, "onnx_gather({0:tensor}, {1:tensor}<, axis = {@axis}>)"),
    row("Gemm", 7, "onnx_gemm({0}, {1}<, {2}><, alpha = {@alpha}><, beta = {@beta}><, trans_a = {@transA}><, trans_b = {@transB}>)"),
    row("GlobalAveragePool", 1, "onnx_global_average_pool({0})"),
    row("Greater", 7, "{0} > {1}"),
    row("GreaterOrEqual", 12, "{0} >= {1}"),
    row("HardSigmoid", 6, "onnx_hard_sigmoid({0}<, alpha = {@alpha}><, beta = {@beta}>)"),
    row("LSTM", 7, "onnx_lstm({0}, {1}, {2}<, b = {3}><, h0 = {5}><, c0 = {6}><, direction = {@direction}>)").results(&[".y", ".h", ".c"]).fixed(&[("hidden_size", None)]),
    row("LayerNormalization", 17, "onnx_layer_norm({0}, {1}<, {2}><, axis = {@axis}><, eps = {@epsilon}>)").fixed(&[("stash_type", Some("1"))]),
    row("LeakyRelu", 6, "leaky_relu({0}<, {@alpha}>)"),
    row("Less", 7, "{0} < {1}"),
    row("LessOrEqual", 12, "{0} <= {1}"),
    row("Log", 6, "log({0})"),
    row("MatMul", 1, "onnx_matmul({0}, {1})"),
    row("Max", 8, "maximum({0}, {1})"),
    row("MaxPool", 1, "onnx_max_pool({0}, {@kernel_shape}<, strides = {@strides}><, pads = {@pads}><, dilations = {@dilations}><, ceil = {@ceil_mode}><, auto_pad = {@auto_pad}>)").fixed(&[("storage_order", Some("0"))]),
    row("Min", 8, "minimum({0}, {1})"),
    row("Mul", 7, "{0} * {1}"),
    row("Neg", 6, "-{0}"),
    row("Not", 1, "not {0}"),
    row("Or", 7, "{0} or {1}"),
    row("Pow", 7, "{0} ** {1}"),
    row("Reciprocal", 6, "reciprocal({0})"),
    row("ReduceMean", 1, "onnx_reduce_mean({0}<, axes = {@axes}><, keep = {@keepdims}>)"),
    row("ReduceMean", 18, "onnx_reduce_mean({0}<, axes = {1:list}><, keep = {@keepdims}>)").fixed(&[("noop_with_empty_axes", Some("0"))]),
    row("Relu", 6, "relu({0})"),
    row("Reshape", 5, "onnx_reshape({0:tensor}, {1:list}<, allow_zero = {@allowzero}>)"),
    row("Sigmoid", 6, "sigmoid({0})"),
    row("Sin", 7, "sin({0})"),
    row("Slice", 10, "onnx_slice({0:tensor}, {1:list}, {2:list}<, {3:list}><, steps = {4:list}>)"),
    row("Softmax", 1, "onnx_flat_softmax({0}<, axis = {@axis}>)"),
    row("Softmax", 13, "onnx_softmax({0}<, axis = {@axis}>)"),
    row("Softplus", 1, "softplus({0})"),
    row("Sqrt", 6, "sqrt({0})"),
    row("Squeeze", 1, "onnx_squeeze({0:tensor}<, axes = {@axes}>)"),
    row("Squeeze", 13, "onnx_squeeze({0:tensor}<, axes = {1:list}>)"),
    row("Sub", 7, "{0} - {1}"),
    row("Tanh", 6, "tanh({0})"),
    row("Transpose", 1, "onnx_transpose({0:tensor}<, {@perm}>)"),
    row("Unsqueeze", 1, "onnx_unsqueeze({0:tensor}, {@axes})"),
    row("Unsqueeze", 13, "onnx_unsqueeze({0:tensor}, {1:list})"),
    row("Where", 9, "where({0}, {1:tensor}, {2:tensor})"),
];

/// The row of an operator in a version of the standard; none if there is no such operator here.
pub fn find(op: &str, version: i64) -> Option<&'static Row> {
    ROWS.iter().rfind(|row| row.op == op && row.since <= version)
}
