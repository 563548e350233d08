use crate::array::Array;
use crate::dim::Dim;
use tensor::Elem;

op! {
    /// What a C function from elsewhere computes, of the type that the model states.
    ///
    /// `symbol` in `file`, a library or a source, is called with the address of each operand and of the result, then with
    /// `sizes`, `integers` and `floats`, 64 bits each.
    "extern" = Extern(x) {
        file: String, symbol: String, elem: Elem, shape: Vec<Dim>, sizes: Vec<Dim>, integers: Vec<i64>, floats: Vec<f64>
    } kind Library
}

impl super::Primitive for Extern {
    fn infer(&self, _: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        Ok(vec![crate::TensorType::new(self.elem, self.shape.clone())])
    }

    fn eval(&self, _: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let text = format!("`{}` is code from elsewhere, which only a compiled program calls", self.symbol);
        Err(crate::OpError::Condition(text))
    }

    /// One task. The sizes that the function takes come after its number.
    fn routine(&self, _: &[crate::TensorType], y: &[crate::TensorType]) -> Option<super::Routine> {
        let sizes = std::iter::once(Dim::int(1)).chain(self.sizes.iter().cloned()).collect();
        Some(super::Routine { name: "extern", sizes, work: y[0].elements() })
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        let none = crate::Grad::None("code from elsewhere has no derivative that is known; a kernel with a `grad` block has");
        v.x.iter().map(|_| none.clone()).collect()
    }
}
