use crate::error::Check;
use crate::*;

impl FeedTokens {
    /// A source that leaves the row its id.
    pub const KEEP: u32 = u32::MAX;
}

impl Spec for FeedTokens {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(FeedTokens::NAME);
        let rows = self.ids.shape()[0];
        check.tensor("tokens", &self.tokens, DType::U32, &[ANY])?;
        check.tensor("source", &self.source, DType::U32, &[rows])?;
        check.tensor("ids", &self.ids, DType::U32, &[rows])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let (tokens, mut ids) = (memory.load(&self.tokens), memory.load(&self.ids));
        for (id, source) in ids.iter_mut().zip(memory.indices(&self.source)) {
            // In f32 `KEEP` is the next number up: what is past the draws leaves the id as it is.
            if let Some(&token) = usize::try_from(source).ok().and_then(|source| tokens.get(source)) {
                *id = token;
            }
        }
        memory.store(&self.ids, &ids);
    }

    fn cases() -> Vec<Case> {
        let each = |(draws, rows): (u32, u32)| {
            let mut c = CaseBuilder::new();
            let sources = (0..rows).map(|r| if r % 3 == 1 { FeedTokens::KEEP } else { (7 * r) % draws });
            let op = FeedTokens {
                tokens: c.below(DType::U32, &[draws], 1000),
                source: c.values(DType::U32, &[rows], sources.map(f64::from)),
                ids: c.below(DType::U32, &[rows], 1000),
            };
            c.finish(format!("{draws}to{rows}"), op)
        };
        [(1, 1), (5, 7), (3, 300)].into_iter().map(each).collect()
    }
}
