use super::store_or_add;
use crate::case::{Mix, TOKENS};
use crate::error::Check;
use crate::*;

impl Spec for RmsNormBackward {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(RmsNormBackward::NAME);
        let [tokens, hidden] = matrix(&self.dy);
        check.activation("dy", &self.dy, &[tokens, hidden])?;
        check.activation("x", &self.x, &[tokens, hidden])?;
        check.weight("weight", &self.weight, &[hidden])?;
        check.tensor("rstd", &self.rstd, DType::F32, &[tokens])?;
        check.activation("dx", &self.dx, &[tokens, hidden])?;
        check.tensor("dweight", &self.dweight, DType::F32, &[hidden])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let (dy, x) = (memory.load(&self.dy), memory.load(&self.x));
        let (weight, rstd) = (memory.load(&self.weight), memory.load(&self.rstd));
        let hidden = weight.len();
        let mut dx = Vec::with_capacity(x.len());
        let mut dweight = vec![R::of(0.0); hidden];
        for ((dy, x), &r) in dy.chunks_exact(hidden).zip(x.chunks_exact(hidden)).zip(&rstd) {
            let mut mean = R::of(0.0);
            for i in 0..hidden {
                mean += weight[i] * dy[i] * (x[i] * r);
                dweight[i] += dy[i] * (x[i] * r);
            }
            mean = mean / R::of(hidden as f64);
            dx.extend((0..hidden).map(|i| r * (weight[i] * dy[i] - x[i] * r * mean)));
        }
        store_or_add(memory, &self.dx, &dx, self.accumulate_dx);
        store_or_add(memory, &self.dweight, &dweight, self.accumulate);
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for mix in Mix::F32.into_iter().chain([Mix::BF16, Mix::of(DType::Bf16, DType::F32)]) {
            // On a GPU also rows wider than what a warp, half a block and a block hold at once, and parts of several rows.
            let large = [(7, 1032), (7, 4104), (7, 8200), (1030, 24), (300, 1032)];
            let large = large.into_iter().filter(|_| mix.activation == DType::Bf16);
            let small = TOKENS.into_iter().flat_map(|tokens| [(tokens, 72), (tokens, 129)]);
            for (tokens, hidden) in small.chain(large) {
                for accumulate in [false, true] {
                    let mut c = CaseBuilder::new();
                    let shape = [tokens, hidden];
                    let rstd: Vec<f64> = (0..tokens).map(|t| 0.5 + f64::from(t % 5)).collect();
                    let op = RmsNormBackward {
                        dy: c.normal(mix.activation, &shape, 1.0),
                        x: c.normal(mix.activation, &shape, 1.0),
                        weight: c.normal(mix.weight, &[hidden], 1.0),
                        rstd: c.values(DType::F32, &[tokens], rstd),
                        dx: c.normal(mix.activation, &shape, 1.0),
                        dweight: c.normal(DType::F32, &[hidden], 1.0),
                        accumulate_dx: accumulate,
                        accumulate,
                    };
                    let name = format!("{mix}/{tokens}x{hidden}-accumulate_{accumulate}");
                    cases.push(c.finish(name, op));
                }
            }
        }
        cases
    }
}
