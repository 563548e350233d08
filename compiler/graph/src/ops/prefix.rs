use crate::array::{Array, each_index};
use crate::dim::Dim;

op! {
    /// Along an axis, each element combined with all those before it: by `sum`, `prod`, `max` or `min`.
    "prefix" = Prefix(x) { kind: String, axis: usize } kind Prefix
}

const KINDS: [(&str, fn(f64, f64) -> f64); 4] = [
    ("sum", |a, b| a + b),
    ("prod", |a, b| a * b),
    ("max", |a, b| if b.is_nan() || b > a { b } else { a }),
    ("min", |a, b| if b.is_nan() || b < a { b } else { a }),
];

impl Prefix {
    fn combine(&self) -> Result<fn(f64, f64) -> f64, crate::OpError> {
        let kind = KINDS.iter().find(|(name, _)| *name == self.kind);
        kind.map(|(_, combine)| *combine).ok_or_else(|| crate::OpError::Attribute {
            name: "kind".into(),
            expected: "one of \"sum\", \"prod\", \"max\" and \"min\"".into(),
        })
    }

    /// Sums of each element and all those after it.
    fn sums_from_behind(&self, v: &crate::Vjp, x: crate::Value) -> crate::Value {
        let flip = || super::Flip { axes: vec![self.axis] };
        let sums = v.push(Prefix { kind: "sum".into(), axis: self.axis }, &[v.push(flip(), &[x])]);
        v.push(flip(), &[sums])
    }

    /// Where the largest or smallest element up to each place is: the last place so far where both are equal.
    fn chosen(&self, v: &crate::Vjp) -> crate::Value {
        let numbers = v.indices(self.axis, v.x[0]);
        let first = v.full(0.0, numbers);
        let reached = v.select(v.eq(v.x[0], v.y[0]), numbers, first);
        v.push(Prefix { kind: "max".into(), axis: self.axis }, &[reached])
    }
}

impl super::Primitive for Prefix {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x] = super::take(x)?;
        super::elementwise::Takes::Number.check(0, x)?;
        super::axis_in_range(self.axis, x.rank())?;
        self.combine()?;
        Ok(vec![x.clone()])
    }

    fn eval(&self, x: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let combine = self.combine()?;
        let mut out = x[0].clone();
        each_index(&x[0].shape, |index| {
            if index[self.axis] > 0 {
                let mut before = index.to_vec();
                before[self.axis] -= 1;
                let (before, at) = (out.at(&before), out.offset(index));
                out.data[at] = combine(before, out.data[at]);
            }
        });
        Ok(vec![out])
    }

    fn routine(&self, x: &[crate::TensorType], _: &[crate::TensorType]) -> Option<super::Routine> {
        let kind = KINDS.iter().position(|(name, _)| *name == self.kind)?;
        let [tasks, n, inner] = super::around(&x[0].dims, self.axis);
        let sizes = vec![tasks, super::elem_number(x[0].elem), Dim::int(kind as i64), n, inner];
        Some(super::Routine { name: "Prefix", sizes, work: x[0].elements().times(8) })
    }

    /// `sum`: sums from behind. `prod`: those of `dy y`, over `x`; NaN where `x` is 0. `max` and `min`: to the chosen.
    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        let dy = v.dy[0];
        let dx = match self.kind.as_str() {
            "sum" => self.sums_from_behind(v, dy),
            "prod" => v.div(self.sums_from_behind(v, v.mul(dy, v.y[0])), v.x[0]),
            _ => v.push(super::ScatterAdd { axis: self.axis }, &[v.full(0.0, v.x[0]), self.chosen(v), dy]),
        };
        vec![crate::Grad::To(dx)]
    }

    fn tolerance(&self) -> f64 {
        if ["max", "min"].contains(&self.kind.as_str()) { 0.0 } else { 2e-6 }
    }
}
