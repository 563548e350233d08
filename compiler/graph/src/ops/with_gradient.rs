use crate::array::Array;
use crate::gradient::{Grad, Vjp};
use crate::nodes::Graph;
use crate::types::TensorType;

op! {
    /// The first operand itself, whose gradient in the next ones is what `body` gives: from the gradient of the result, and
    /// what else it needs, one for each of those operands.
    "with_gradient" = WithGradient(x) { body: Box<Graph> } kind Element
}

impl WithGradient {
    /// Operands are the value, those that `body` has a gradient for, and what it needs beside the gradient of the result.
    fn counts(&self) -> (usize, usize) {
        (self.body.outputs.len(), self.body.operands.len().saturating_sub(1))
    }
}

impl super::Primitive for WithGradient {
    fn infer(&self, x: &[TensorType], _: &crate::Facts) -> Result<Vec<TensorType>, crate::OpError> {
        let wrong = |text: String| Err(crate::OpError::Condition(text));
        let (gradients, needed) = self.counts();
        if x.len() != 1 + gradients + needed {
            return wrong(format!("{} operands, for a body that needs {}", x.len(), 1 + gradients + needed));
        }
        let inner = |position: usize| self.body.ty(self.body.operands[position].value);
        let outer = std::iter::once(&x[0]).chain(&x[1 + gradients..]);
        if let Some((i, ty)) = outer.enumerate().find(|(i, ty)| inner(*i) != *ty) {
            return wrong(format!("operand {i} of the body is {}, given {ty}", inner(i)));
        }
        for ((name, value), ty) in self.body.outputs.iter().zip(&x[1..]) {
            let got = self.body.ty(*value);
            if got != ty {
                return wrong(format!("`{name}` is {got}, and it is the gradient of {ty}"));
            }
        }
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        Ok(vec![x[0].clone()])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        c.same(0)
    }

    fn vjp(&self, v: &Vjp) -> Vec<Grad> {
        let (gradients, needed) = self.counts();
        let given: Vec<_> = std::iter::once(v.dy[0]).chain(v.x[1 + gradients..].iter().copied()).collect();
        let found = v.inline(&self.body, &given).into_iter().map(Grad::To);
        std::iter::once(Grad::Zero).chain(found).chain((0..needed).map(|_| Grad::Zero)).collect()
    }
}
