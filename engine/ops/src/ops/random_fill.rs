use crate::error::Check;
use crate::philox::{Purpose, bell, draw};
use crate::*;

impl RandomFill {
    /// Elements a stream has: a block's index has 32 bits, and a block makes two.
    pub const STREAM: u64 = 1 << 33;

    /// What an integer of the bell is multiplied with.
    pub fn factor(&self) -> f32 {
        (f64::from(self.scale) * 3f64.sqrt() / 65536.0) as f32
    }

    /// The elements of block `index` of the stream, before they are rounded to the dtype.
    pub fn block(&self, index: u32) -> [f32; 2] {
        let words = draw(self.seed, Purpose::Fill, self.stream, index);
        [[words[0], words[1]], [words[2], words[3]]].map(|pair| bell(pair) as f32 * self.factor())
    }
}

impl Spec for RandomFill {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(RandomFill::NAME);
        check.dtype("out", &self.out, &[DType::F32, DType::Bf16])?;
        check.relation(self.out.is_contiguous(), || "`out` has gaps between its rows".into())?;
        check
            .relation(self.scale.is_finite(), || format!("`scale` is {}, which is no number", self.scale))?;
        check.relation(self.out.elements() as u64 <= RandomFill::STREAM, || {
            format!("`out` has {} elements, more than a stream's {}", self.out.elements(), RandomFill::STREAM)
        })
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let blocks = 0..self.out.elements().div_ceil(2);
        let mut values: Vec<R> =
            blocks.flat_map(|index| self.block(index as u32)).map(|v| R::of(v.into())).collect();
        values.truncate(self.out.elements());
        memory.store(&self.out, &values);
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for dtype in [DType::F32, DType::Bf16] {
            for (shape, seed) in [([1].as_slice(), 0), (&[7, 9], 1 << 40), (&[5000], 7)] {
                let mut c = CaseBuilder::new();
                let op = RandomFill { out: c.output(dtype, shape), seed, stream: (3 << 32) + 5, scale: 0.02 };
                let elements: u32 = shape.iter().product();
                cases.push(c.finish(format!("{dtype}/{elements}"), op));
            }
        }
        cases
    }
}
