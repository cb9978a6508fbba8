use crate::error::Check;
use crate::*;

impl CopyPages {
    /// Layers, pages, and elements of a page.
    pub fn shape(&self) -> [usize; 3] {
        match *self.pages.shape() {
            [layers, pages, elements] => [layers, pages, elements].map(|n| n as usize),
            _ => [0; 3],
        }
    }
}

impl Spec for CopyPages {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(CopyPages::NAME);
        let copies = self.from.shape()[0];
        check.tensor("from", &self.from, DType::U32, &[copies])?;
        check.tensor("to", &self.to, DType::U32, &[copies])?;
        check.activation("pages", &self.pages, &[ANY, ANY, ANY])?;
        let [_, _, elements] = self.shape();
        check.relation(elements.is_multiple_of(PAGE_TOKENS as usize), || {
            format!("`pages` are of {elements} elements, not a multiple of {PAGE_TOKENS}")
        })?;
        check.relation(self.pages.is_contiguous(), || "`pages` has gaps between its layers".into())
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let (from, to) = (memory.indices(&self.from), memory.indices(&self.to));
        let before = memory.load(&self.pages);
        let mut after = before.clone();
        let [layers, pages, elements] = self.shape();
        for layer in 0..layers {
            let at = |page: i64| (layer * pages + page as usize) * elements;
            for (&from, &to) in from.iter().zip(&to) {
                after[at(to)..][..elements].copy_from_slice(&before[at(from)..][..elements]);
            }
        }
        memory.store(&self.pages, &after);
    }

    fn cases() -> Vec<Case> {
        // Two copies of one page; a page beside the one it goes to; all layers.
        let shapes: [([u32; 3], &[[u32; 2]]); 3] = [
            ([1, 2, 64], &[[1, 0]]),
            ([3, 7, 192], &[[2, 0], [2, 3], [6, 5]]),
            ([2, 40, 1024], &[[0, 30], [1, 31], [2, 32], [38, 33], [39, 34]]),
        ];
        let mut cases = Vec::new();
        for dtype in [DType::F32, DType::Bf16] {
            for (shape, copies) in shapes {
                let mut c = CaseBuilder::new();
                let [from, to] = [0, 1].map(|end| {
                    let pages = copies.iter().map(|copy| f64::from(copy[end]));
                    c.values(DType::U32, &[copies.len() as u32], pages)
                });
                let op = CopyPages { from, to, pages: c.normal(dtype, &shape, 1.0) };
                let [layers, pages, elements] = shape;
                cases.push(c.finish(format!("{dtype}/{}of{layers}x{pages}x{elements}", copies.len()), op));
            }
        }
        cases
    }
}
