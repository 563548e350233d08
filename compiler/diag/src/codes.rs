//! The list of mistakes that have a code.

use std::fmt;

/// A mistake's code, stable from version to version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub u16);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "E{:04}", self.0)
    }
}

/// What `nnc explain` prints.
pub struct Page {
    pub code: Code,
    pub title: &'static str,
    pub text: &'static str,
    /// A file with this mistake.
    pub example: &'static str,
}

macro_rules! codes {
    ($($number:literal $name:ident $title:literal $text:literal $example:literal)*) => {
        impl Code {
            $(#[doc = $title] pub const $name: Code = Code($number);)*
        }

        /// Every code's page.
        pub const PAGES: &[Page] = &[
            $(Page { code: Code($number), title: $title, text: $text, example: $example }),*
        ];
    };
}

codes! {
    101 SYNTAX "the text does not parse"
        "The file does not follow the grammar at the place shown. The message says what could stand there."
        "model M(x: [B, 8]) -> [B, 8] = relu(x"
    102 TOO_DEEP "brackets or blocks are nested too deep"
        "Nesting is limited so that no input can exhaust the stack. Give parts of the expression names of their own."
        "const a = (((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((1)))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))\nmodel M(x: [B, 8]) -> [B, 8] = a * x"
    103 TOO_LONG "elaborating the model takes too long"
        "Functions run and loops unroll while a model is elaborated. How much that may be is limited, so that no input can
exhaust time or memory: functions that call others twice, one after the other, double the work with each level."
        "model M(x: [B, 8]) -> [B, 8] {
  for i in 0..1000000 {
    for j in 0..1000000 { n = i * j }
  }
  x
}"
    201 UNKNOWN_NAME "a name is not known here"
        "Names come from locals, inputs, dims of the signature, configuration, items of the file, imports and the
standard library, in that order. A new dim starts with a capital."
        "model M(x: [B, 8]) -> [B, 8] = reluu(x)"
    202 DEFINED_TWICE "a name is defined twice"
        "An item may not redefine another item of its file, no two inputs or configurations share a name, and no two
stored tensors have one name in files."
        "const width = 8
const width = 16
model M(x: [B, 8]) -> [B, width] = x |> fc: Linear(width)"
    203 IMPORT "an import that leads nowhere"
        "An import names a file by its path in quotes, relative to the file that imports, or a part of the standard
library: import \"blocks.nn\" as blocks, import std.optim (AdamW)."
        "import std.vision
model M(x: [B, 8]) -> [B, 8] = relu(x)"
    204 RECURSION "something that needs itself"
        "A function may not call itself, and a constant may not need its own value: everything static is worked out when
compiling. Repeat with `for`, or over a tensor with `scan`."
        "fn f(x: [..S]) -> [..S] = f(x)
model M(x: [B, 8]) -> [B, 8] = f(x)"
    205 NO_OPTION "an option that does not exist"
        "A call names an argument that the function or layer does not have, gives one twice, or gives too many. An
attribute that does not exist is refused too."
        "model M(x: [B, 8]) -> [B, 4] = x |> fc: Linear(4, biass = false)"
    206 MISSING_ARGUMENT "a call lacks an argument"
        "Every argument without a default must be given, by position or by name. A parameter needs a first value, a model
an entry."
        "model M(x: [B, 8]) -> [B, 4] = x |> fc: Linear()"
    210 LAYER_NOT_BUILT "a layer is used without its configuration"
        "A layer owns weights and must be built first: `Linear(10)`. In a chain write `x |> Linear(10)`."
        "model M(x: [B, 8]) -> [B, 8] = x |> Linear |> relu"
    211 NOT_CALLABLE "something that cannot be called is called"
        "Functions, layers and built layers can be called; numbers, tensors and lists cannot."
        "model M(x: [B, 8]) -> [B] = x(0)"
    215 STATIC_TYPE "a static value has the wrong kind"
        "Configuration, attributes and conditions are values of the compiler: integers, floats, booleans, strings, lists."
        "model M(x: [B, 8]) -> [B, 4] = x |> fc: Linear(\"4\")"
    220 UNNAMED_RESULTS "several results without names"
        "The results of an entry are its output names. Write -> (x: [B, 8], y: [B, 8])."
        "model M(x: [B, 8]) -> ([B, 8], [B, 8]) = (x, relu(x))"
    301 MATMUL "inner dimensions of a matrix product differ"
        "In `x @ w` the last axis of `x` and the last but one of `w` must have equal size. To apply a learned map write
`x |> Linear(n)`: it takes the input width from `x`."
        "model M(x: [B, 8]) -> [B, 4] = x @ ones([7, 4])"
    302 BROADCAST "shapes that do not go together"
        "Element-wise operations align shapes from the right. Sizes must be equal, or literally 1."
        "model M(x: [B, 8]) -> [B, 8] = x + ones([7])"
    303 UNKNOWN_EQUAL "two sizes that might differ"
        "Both sizes are chosen by the caller, and nothing says that they are equal. Use one name for both, or state it
in a `where`: then it is checked on each call."
        "model M(a: [T], b: [S]) -> [T] = a + b"
    304 SHAPE "a tensor has another shape than declared"
        "The declared type and the value's type differ, or a size is none: a fraction, negative, or known when running
only."
        "model M(x: [B, 8]) -> [B, 4] = relu(x)"
    305 STRETCH_BOTH "both sides would stretch"
        "If ranks differ, only the operand of lower rank may stretch: [B, 1] - [B] would quietly become [B, B]."
        "model M(a: [B, 1], b: [B]) -> [B, B] = a - b"
    310 FACT "a `where` does not hold"
        "A condition that the called function states is false for these sizes."
        "model M(x: [B, T, 8]) -> [B, 3, T, _] = split_heads(x, 3)"
    311 PATTERN "a pattern that does not fit"
        "In `rearrange` the left pattern names the axes of the tensor; a group must multiply to the size of its axis."
        "model M(x: [B, 8]) -> [B, 3, _] = rearrange(x, \"b (h d) -> b h d\", h = 3)"
    312 RESHAPE "a reshape that changes the number of elements"
        "Reshaping keeps the number of elements, and that must be provable."
        "model M(x: [B, 8]) -> [B, 3, 3] = reshape(x, [B, 3, 3])"
    320 ELEMENT_TYPE "a tensor has the wrong element type"
        "A type without an element type means float. Tensors are never converted silently; `cast(x, i32)` does it."
        "model M(ids: [B, T]) -> [B, T, 8] = ids |> emb: Embedding(10, 8)"
    330 RUN_TIME_CONDITION "a condition that only the caller's sizes decide"
        "`if` is decided when compiling. Use `where(…)` on tensors, write a second entry, or fix the size with -D."
        "model M(x: [T]) -> [T] = if T > 1 { relu(x) } else { x }"
    340 CARRY "a scan carry changes its type"
        "A carried value has the same shape and element type before and after each step."
        "model M(x: [4, 8]) -> [4, _] {
  scan (h = zeros([8])) for t in x {
    h = concat([h, t], axis = 0)
    h
  }
}"
    345 TRAINING "a `train` block that cannot work"
        "A step reads a batch of a `data` source, its block ends with the loss, one float, and `updates` lists layers
whose parameters the loss depends on. `using` names an optimiser: a layer from (parameter, gradient) to parameter."
        "model M(x: [B, 28, 28]) -> [B, 10] = x |> flatten |> fc: Linear(10)
train T {
  net = M()
  data digits = mnist(\"train\") |> map(ex => cast(ex.image, float)) |> batch(8)
  step (x in digits) updates net using Sgd() { net(x) }
}"
    350 OUT_OF_RANGE "a read outside a tensor"
        "An index or slice leaves its axis for some value of the indices. In a kernel write `(x[…] or 0)`."
        "model M(x: [B, 8]) -> [B] = x[:, 8]"
    401 LABEL_ON_FUNCTION "a label on something that owns no weights"
        "Labels name layers, because checkpoints need names for weights. A function has none."
        "model M(x: [B, 8]) -> [B, 8] = x |> act: relu"
    402 LABEL_REUSED "one label names several layers"
        "Inside a loop a label must mention the loop variable, or the layer must be built before the loop to be shared."
        "model M(x: [B, 8]) -> [B, 8] {
  for i in 0..4 { x = x |> fc: Linear(8) }
  x
}"
    403 SHARED_WIDTHS "a shared layer is used with two widths"
        "The first use of a layer fixes the shapes of its weights."
        "model M(x: [B, 8], y: [B, 4]) -> [B, 2] {
  fc = Linear(2)
  fc(x) + fc(y)
}"
    601 WEIGHTS "a checkpoint does not fit the model"
        "Names and shapes in the file, after the rules of the `weights` block, must be those of the model's parameters.
The patterns of a rule have equally many stars."
        "model M(x: [B, 8]) -> [B, 4] = x |> fc: Linear(4)
weights hub for M { \"model.*.layer.*\" -> \"*\" }"
    901 NOT_YET "a part of the language that is not compiled yet"
        "The text is valid, but this version of nnc cannot compile it."
        "model M(x: [T, 8], n: i32[T]) -> [T] {
  scan (h = zeros([8])) for (row, k) in (x, n) {
    h = h + row
    sum(h[0..k])
  }
}"
}

/// The page of a code such as `E0301`; `None` if there is no such code.
pub fn explain(code: &str) -> Option<String> {
    let page = PAGES.iter().find(|p| p.code.to_string().eq_ignore_ascii_case(code))?;
    let example: Vec<String> = page.example.lines().map(|l| format!("    {l}")).collect();
    Some(format!("{}: {}\n\n{}\n\nFor example:\n\n{}\n", page.code, page.title, page.text, example.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_by_code() {
        assert!(explain("E0301").unwrap().starts_with("E0301: inner dimensions"));
        assert!(explain("e0301").unwrap().contains("    model M(x: [B, 8])"));
        assert_eq!(explain("E9999"), None);
    }
}
