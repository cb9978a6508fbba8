//! Does a backend compute what the references say, and how long does it take?
//!
//! Conformance: a case runs on a queue eagerly and as a captured program; both must give the same bits, leave inputs as
//! they were, and come as close to the truth as the limit below allows. Benches: ops at the shapes of real models,
//! timed on a device, or predicted for a GPU that is not here from what the simulated one counts. What this crate does
//! not hold: conformance cases (beside each op in `octo-ops`), kernels and the model of their time (`octo-kernels`), and
//! anything that knows a model's passes.
//!
//! Read `conformance.rs` first, then `suite.rs`, `cases.rs`, `measure.rs` and `roofline.rs`.

mod cases;
mod ceilings;
mod conformance;
mod measure;
mod roofline;
mod suite;
mod sweep;

pub use cases::{BenchCase, BenchModel, MODELS, Prepared, bench_cases};
pub use ceilings::{Ceilings, ceilings};
pub use conformance::{Failure, Outcome, check, run};
pub use measure::{Ready, Timed};
pub use octo_kernels::predict::{
    Chip, Inputs, LaunchTime, Limiter, PredictError, Predictor, SAMPLED_BLOCKS, Source, Time, Work,
};
pub use octo_kernels::tuning::TuningError;
pub use roofline::{OpTime, floor, roofline, seconds};
pub use suite::{Suite, SuiteCase, Verdict};
pub use sweep::variants;
