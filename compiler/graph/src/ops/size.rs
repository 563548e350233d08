use crate::array::Array;
use crate::dim::Dim;
use kernel::ExprId;
use tensor::Elem;

op! {
    /// An integer as a size: where the graph says `name`, it means the value of `x`, from 0 to `most`.
    "size" = Size(x) { name: String, most: Dim } kind Element
}

impl super::Primitive for Size {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x] = super::take(x)?;
        super::indexed::integer(0, x)?;
        match x.rank() {
            0 => Ok(vec![crate::TensorType::new(Elem::I64, vec![])]),
            got => Err(crate::OpError::Rank { operand: 0, expected: "0".into(), got }),
        }
    }

    fn eval(&self, x: &[Array], sizes: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let (value, most) = (x[0].data[0], super::size(&self.most, sizes)?);
        match (0.0..=most as f64).contains(&value) {
            true => Ok(vec![Array::scalar(Elem::I64, value)]),
            false => Err(crate::OpError::Condition(format!("`{}` is {value}, not in 0..={most}", self.name))),
        }
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<ExprId> {
        let x = c.same(0)?;
        Some(c.kernel.exprs.cast(Elem::I64, x))
    }

    fn vjp(&self, _: &crate::Vjp) -> Vec<crate::Grad> {
        vec![crate::Grad::Zero]
    }
}
