use super::same_dim;
use crate::array::{Array, each_index};
use kernel::{Combine, Subscript};

op! {
    /// Product summed over pairs of axes: batch axes first, then what is left of `x`, then of `y`.
    "dot" = Dot(x, y) {
        contract_x: Vec<usize>,
        contract_y: Vec<usize>,
        batch_x: Vec<usize> = vec![],
        batch_y: Vec<usize> = vec![],
    } kind Element
}

impl Dot {
    /// Axes of one operand that are neither contracted nor batch.
    fn free(rank: usize, contract: &[usize], batch: &[usize]) -> Vec<usize> {
        (0..rank).filter(|i| !contract.contains(i) && !batch.contains(i)).collect()
    }

    /// The order that brings axes batch, free, contracted, the last sorted by the axes of the other operand that they
    /// meet, to where one operand has them.
    fn order(rank: usize, batch: &[usize], free: &[usize], contract: &[usize], other: &[usize]) -> Vec<usize> {
        let mut pairs: Vec<(usize, usize)> = other.iter().copied().zip(contract.iter().copied()).collect();
        pairs.sort();
        let met = pairs.into_iter().map(|(_, axis)| axis);
        let at: Vec<usize> = batch.iter().chain(free).copied().chain(met).collect();
        (0..rank).map(|axis| at.iter().position(|a| *a == axis).expect("every axis is one of the three")).collect()
    }

    /// Subscripts of one operand from those of its batch, free and contracted axes.
    fn arrange<T: Clone>(rank: usize, parts: [(&[usize], &[T]); 3]) -> Vec<T> {
        let at = |axis: usize| {
            let found = parts.iter().find_map(|(axes, values)| {
                axes.iter().position(|a| *a == axis).map(|i| values[i].clone())
            });
            found.expect("every axis is batch, free or contracted")
        };
        (0..rank).map(at).collect()
    }
}

impl super::Primitive for Dot {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x, y] = super::take(x)?;
        super::elementwise::Takes::Number.check(0, x)?;
        if x.elem != y.elem {
            return Err(crate::OpError::Elem { operand: 1, expected: x.elem.to_string(), got: y.elem });
        }
        if self.contract_x.len() != self.contract_y.len() || self.batch_x.len() != self.batch_y.len() {
            return Err(crate::OpError::Condition("axes of a product come in pairs".into()));
        }
        for (axes, ty) in [(&self.contract_x, x), (&self.batch_x, x), (&self.contract_y, y), (&self.batch_y, y)] {
            axes.iter().try_for_each(|a| super::axis_in_range(*a, ty.rank()))?;
        }
        for (a, b) in self.contract_x.iter().zip(&self.contract_y) {
            if facts.eq(&x.dims[*a], &y.dims[*b]) != crate::Verdict::Proved {
                return Err(crate::OpError::Contract { left: x.dims[*a].clone(), right: y.dims[*b].clone() });
            }
        }
        for (i, (a, b)) in self.batch_x.iter().zip(&self.batch_y).enumerate() {
            same_dim(i, &x.dims[*a], &y.dims[*b], facts)?;
        }
        let batch = self.batch_x.iter().map(|a| x.dims[*a].clone());
        let rows = Dot::free(x.rank(), &self.contract_x, &self.batch_x).into_iter().map(|a| x.dims[a].clone());
        let columns = Dot::free(y.rank(), &self.contract_y, &self.batch_y).into_iter().map(|a| y.dims[a].clone());
        Ok(vec![crate::TensorType::new(x.elem, batch.chain(rows).chain(columns).collect())])
    }

    fn eval(&self, x: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let (x, y) = (&x[0], &x[1]);
        let rows = Dot::free(x.rank(), &self.contract_x, &self.batch_x);
        let columns = Dot::free(y.rank(), &self.contract_y, &self.batch_y);
        let pick = |axes: &[usize], shape: &[usize]| axes.iter().map(|a| shape[*a]).collect::<Vec<_>>();
        let batch = pick(&self.batch_x, &x.shape);
        let shape = [batch.clone(), pick(&rows, &x.shape), pick(&columns, &y.shape)].concat();
        let depth = pick(&self.contract_x, &x.shape);
        let (b, r) = (batch.len(), rows.len());
        let out = Array::from_fn(x.elem, shape, |index| {
            let mut sum = 0.0;
            each_index(&depth, |k| {
                let at_x = Dot::arrange(x.rank(), [(&self.batch_x, &index[..b]), (&rows, &index[b..b + r]), (&self.contract_x, k)]);
                let at_y = Dot::arrange(y.rank(), [(&self.batch_y, &index[..b]), (&columns, &index[b + r..]), (&self.contract_y, k)]);
                sum += x.at(&at_x) * y.at(&at_y);
            });
            sum
        });
        Ok(vec![out])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let (x, y) = (&c.operands[0], &c.operands[1]);
        let rows = Dot::free(x.rank(), &self.contract_x, &self.batch_x);
        let columns = Dot::free(y.rank(), &self.contract_y, &self.batch_y);
        let depth: Vec<_> = self.contract_x.iter().map(|a| x.dims[*a].clone()).collect();
        let (rank_x, rank_y, b, r) = (x.rank(), y.rank(), self.batch_x.len(), rows.len());
        c.reduce(Combine::Sum, &vec!["k"; depth.len()], &depth, |c, k| {
            let k: Vec<Subscript> = k.iter().map(|a| Subscript::Affine(a.clone())).collect();
            let index = c.indices.clone();
            let at_x = Dot::arrange(rank_x, [(&self.batch_x, &index[..b]), (&rows, &index[b..b + r]), (&self.contract_x, &k)]);
            let at_y = Dot::arrange(rank_y, [(&self.batch_y, &index[..b]), (&columns, &index[b + r..]), (&self.contract_y, &k)]);
            let (x, y) = (c.load(0, at_x)?, c.load(1, at_y)?);
            Some(c.kernel.exprs.mul(x, y))
        })
    }

    /// With `z = x y`: `dx = dz y` over the columns, `dy = dz x` over the rows.
    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        let (x, y, dz) = (v.x[0], v.x[1], v.dy[0]);
        let (rank_x, rank_y, b) = (v.rank(x), v.rank(y), self.batch_x.len());
        let rows = Dot::free(rank_x, &self.contract_x, &self.batch_x);
        let columns = Dot::free(rank_y, &self.contract_y, &self.batch_y);
        let batch: Vec<usize> = (0..b).collect();
        let (of_rows, of_columns) = (b..b + rows.len(), b + rows.len()..b + rows.len() + columns.len());
        // Products have axes batch, free of dz, contracted axes of the other operand in ascending order.
        let dx = Dot {
            contract_x: of_columns.collect(),
            contract_y: columns.clone(),
            batch_x: batch.clone(),
            batch_y: self.batch_y.clone(),
        };
        let dx = v.push(dx, &[dz, y]);
        let dx = v.transpose(dx, Dot::order(rank_x, &self.batch_x, &rows, &self.contract_x, &self.contract_y));
        let dy = Dot { contract_x: of_rows.collect(), contract_y: rows, batch_x: batch, batch_y: self.batch_x.clone() };
        let dy = v.push(dy, &[dz, x]);
        let dy = v.transpose(dy, Dot::order(rank_y, &self.batch_y, &columns, &self.contract_y, &self.contract_x));
        vec![crate::Grad::To(dx), crate::Grad::To(dy)]
    }

    /// Sums of a few thousand products, each rounded.
    fn tolerance(&self) -> f64 {
        2e-6
    }
}
