//! One queue over all backends: device choice, buffers, checks, capture.
//!
//! Everything above this crate talks to a [`Queue`]; this is the only crate that knows which backends there
//! are. An op is checked here once for all of them: its own shapes and dtypes, that every operand lies inside
//! its buffer, and that nothing written overlaps anything else. That check is the safety argument of every
//! backend. What this crate does not hold: ops (see `octo-ops`) and anything that knows a model.
//!
//! Read `queue.rs` first, then `record.rs` (the backend that plans instead of computing).

mod device;
mod queue;
mod record;

pub use device::{DeviceKind, OpenError, open, open_with};
pub use octo_cpu::available_memory;
pub use queue::{Queue, QueueError, Region};
pub use record::{Event, Recording, record};
