use crate::array::Array;
use crate::dim::Dim;
use kernel::{Binary, ExprId, Literal, Subscript};
use tensor::Elem;

op! {
    /// Random bits that depend on nothing but `key`, the stream and the place: `key: u32[2]` changes from call to call,
    /// streams tell apart the uses in one model.
    ///
    /// Threefry with two words and 20 rounds (Salmon et al., Parallel Random Numbers, 2011), the first word of what
    /// `(place, stream)` becomes. Its rounds are sums, rotations and exclusive ors of 32 bits, nothing wider.
    "random_bits" = RandomBits(key) { shape: Vec<Dim>, stream: i64 } kind Element
}

const ROTATIONS: [[u32; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];

/// What the third word of the key is mixed with.
const PARITY: u32 = 0x1bd1_1bda;

fn threefry(key: [u32; 2], counter: [u32; 2]) -> u32 {
    let key = [key[0], key[1], PARITY ^ key[0] ^ key[1]];
    let [mut a, mut b] = [counter[0].wrapping_add(key[0]), counter[1].wrapping_add(key[1])];
    for round in 0..5 {
        for rotation in ROTATIONS[round % 2] {
            a = a.wrapping_add(b);
            b = b.rotate_left(rotation) ^ a;
        }
        a = a.wrapping_add(key[(round + 1) % 3]);
        b = b.wrapping_add(key[(round + 2) % 3]).wrapping_add(round as u32 + 1);
    }
    a
}

impl super::Primitive for RandomBits {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [key] = super::take(x)?;
        if key.elem != Elem::U32 || key.dims != [Dim::int(2)] {
            return Err(crate::OpError::Condition(format!("the key of random bits is u32[2], not {key}")));
        }
        Ok(vec![crate::TensorType::new(Elem::U32, self.shape.clone())])
    }

    fn eval(&self, x: &[Array], sizes: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let shape = self.shape.iter().map(|d| super::size(d, sizes)).collect::<Result<_, _>>()?;
        let key = [x[0].data[0] as u32, x[0].data[1] as u32];
        let mut place = 0u32;
        Ok(vec![Array::from_fn(Elem::U32, shape, |_| {
            place = place.wrapping_add(1);
            threefry(key, [place.wrapping_sub(1), self.stream as u32]) as f64
        })])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<ExprId> {
        let word = |c: &mut crate::Compute, n: u32| c.kernel.exprs.literal(Literal::int(Elem::U32, n as i64));
        let add = |c: &mut crate::Compute, a, b| c.binary(Binary::Add, a, b);
        let xor = |c: &mut crate::Compute, a, b| c.binary(Binary::Xor, a, b);
        let mut place = word(c, 0);
        for (axis, dim) in self.shape.iter().enumerate() {
            let extent = c.source.extent(c.kernel, dim);
            let (size, index) = (c.kernel.exprs.index(extent.into(), Elem::U32), c.affine(axis)?);
            let index = c.kernel.exprs.index(index, Elem::U32);
            let row = c.binary(Binary::Mul, place, size);
            place = add(c, row, index);
        }
        let mut key = vec![c.load(0, vec![Subscript::from(0)])?, c.load(0, vec![Subscript::from(1)])?];
        let (parity, both) = (word(c, PARITY), xor(c, key[0], key[1]));
        key.push(xor(c, parity, both));
        let stream = word(c, self.stream as u32);
        let (mut a, mut b) = (add(c, place, key[0]), add(c, stream, key[1]));
        for round in 0..5 {
            for rotation in ROTATIONS[round % 2] {
                a = add(c, a, b);
                let (left, right) = (word(c, rotation), word(c, 32 - rotation));
                let (left, right) = (c.binary(Binary::Shl, b, left), c.binary(Binary::Shr, b, right));
                let rotated = c.binary(Binary::Or, left, right);
                b = xor(c, rotated, a);
            }
            a = add(c, a, key[(round + 1) % 3]);
            let count = word(c, round as u32 + 1);
            b = add(c, b, key[(round + 2) % 3]);
            b = add(c, b, count);
        }
        Some(a)
    }

    fn vjp(&self, _: &crate::Vjp) -> Vec<crate::Grad> {
        vec![crate::Grad::Zero]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the authors' library, Random123.
    #[test]
    fn threefry_is_threefry() {
        assert_eq!(threefry([0, 0], [0, 0]), 0x6b200159);
        assert_eq!(threefry([!0, !0], [!0, !0]), 0x1cb996fc);
        assert_eq!(threefry([0x13198a2e, 0x03707344], [0x243f6a88, 0x85a308d3]), 0xc4923a9c);
    }
}
