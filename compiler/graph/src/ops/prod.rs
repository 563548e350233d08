use super::reduce;
use crate::dim::Dim;
use kernel::Combine;

op! {
    /// Product over axes. `keep` leaves axes of size 1.
    "prod" = Prod(x) { axes: Vec<usize>, keep: bool = false } kind Element
}

impl super::Primitive for Prod {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        reduce::infer(x, &self.axes, self.keep)
    }

    fn eval(&self, x: &[crate::Array], _: super::Sizes) -> Result<Vec<crate::Array>, crate::OpError> {
        Ok(vec![reduce::eval(&x[0], &self.axes, self.keep, 1.0, |a, b| a * b)])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        reduce::compute(c, Combine::Prod, &self.axes, self.keep)
    }

    /// `dx = dy` times the product of all other elements, by prefix products from both ends, so that zeros do no harm.
    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        let (x, dims) = (v.x[0], v.dims(v.x[0]));
        // The axes that are reduced as one, behind the others.
        let kept: Vec<usize> = (0..dims.len()).filter(|i| !self.axes.contains(i)).collect();
        let order = [kept.clone(), self.axes.clone()].concat();
        let pick = |axes: &[usize]| axes.iter().map(|a| dims[*a].clone()).collect::<Vec<Dim>>();
        let joined: Dim = pick(&self.axes).into_iter().product();
        let axis = kept.len();
        let rows = v.reshape(v.transpose(x, order.clone()), [pick(&kept), vec![joined]].concat());
        let flip = |a| v.push(super::Flip { axes: vec![axis] }, &[a]);
        let others = v.mul(before(v, rows, axis), flip(before(v, flip(rows), axis)));
        let others = v.reshape(others, pick(&order));
        let back = (0..order.len()).map(|i| order.iter().position(|a| *a == i).expect("every axis has a place"));
        let others = v.transpose(others, back.collect());
        vec![crate::Grad::To(v.mul(others, v.spread(v.dy[0], &self.axes, dims)))]
    }

    fn tolerance(&self) -> f64 {
        2e-6
    }
}

/// The product of the elements before each one along an axis.
fn before(v: &crate::Vjp, x: crate::Value, axis: usize) -> crate::Value {
    let amounts = |n: i64| (0..v.rank(x)).map(|i| if i == axis { n } else { 0 }).collect();
    let shifted = v.push(super::Pad { before: amounts(1), after: amounts(-1), value: 1.0 }, &[x]);
    v.push(super::Prefix { kind: "prod".into(), axis }, &[shifted])
}
