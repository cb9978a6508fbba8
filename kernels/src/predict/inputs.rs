//! Where an op's operands lie on the simulated GPU, and what the ones that address others hold.

use super::PredictError;
use crate::{Addresses, WORKSPACE_BYTES};
use octo_ops::{BufferId, DType, Op, Operand, PAGE_TOKENS, View};
use octo_ptx::sim::{Config, Gpu};
use std::collections::BTreeMap;

/// What decides how much there is to do besides shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Inputs {
    /// Tokens of a document where documents are rows: position i is i mod this.
    pub document: u32,
    /// Tokens in the cache before each row, where keys come from pages.
    pub context: u32,
}

/// An op's operands on an empty simulated GPU: numbers are zeros, indices as [`Inputs`] says.
pub(super) struct Placed {
    pub gpu: Gpu,
    /// First address and bytes of each allocation; the workspace is the last.
    pub allocations: Vec<(u64, u64)>,
    /// Where byte 0 of each buffer would be.
    buffers: BTreeMap<BufferId, u64>,
    workspace: u64,
}

impl Addresses for Placed {
    fn address(&self, view: &View) -> u64 {
        self.buffers.get(&view.buffer).map_or(0, |origin| origin.wrapping_add(view.offset))
    }

    fn workspace(&self) -> u64 {
        self.workspace
    }
}

impl Placed {
    /// Equal ops at other places of their buffers are placed alike, so that their launches are equal.
    pub(super) fn new(op: &Op, inputs: Inputs) -> Result<Placed, PredictError> {
        Placed::on(Config::default(), op, inputs)
    }

    pub(super) fn on(config: Config, op: &Op, inputs: Inputs) -> Result<Placed, PredictError> {
        let failed = |fault: octo_ptx::sim::Fault| PredictError::Kernel {
            entry: op.name().into(),
            what: fault.to_string(),
        };
        let operands = op.operands();
        let mut order: Vec<BufferId> = Vec::new();
        let mut spans: BTreeMap<BufferId, (u64, u64)> = BTreeMap::new();
        for Operand { view, .. } in &operands {
            let (first, end) = (view.offset / 256 * 256, view.offset + view.span_bytes().max(1));
            let span = spans.entry(view.buffer).or_insert_with(|| {
                order.push(view.buffer);
                (first, end)
            });
            *span = (span.0.min(first), span.1.max(end));
        }
        let mut gpu = Gpu::new(config);
        let (mut buffers, mut allocations) = (BTreeMap::new(), Vec::new());
        for buffer in order {
            let Some(&(first, end)) = spans.get(&buffer) else { continue };
            let base = gpu.allocate_zeroed("operand", end - first).map_err(failed)?;
            allocations.push((base, end - first));
            buffers.insert(buffer, base.wrapping_sub(first));
        }
        let workspace = gpu.allocate_zeroed("workspace", WORKSPACE_BYTES).map_err(failed)?;
        allocations.push((workspace, WORKSPACE_BYTES));
        let mut placed = Placed { gpu, allocations, buffers, workspace };
        for operand in &operands {
            if let Some(words) = indices(operand, &operands, inputs) {
                let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
                let at = placed.address(&operand.view);
                placed.gpu.write(at, &bytes).map_err(failed)?;
            }
        }
        Ok(placed)
    }
}

/// What an operand of indices holds; `None` for numbers.
fn indices(operand: &Operand, all: &[Operand], inputs: Inputs) -> Option<Vec<u32>> {
    let named = |name: &str| all.iter().find(|o| o.name == name).map(|o| o.view);
    let n = operand.view.elements() as u32;
    let rows = |view: Option<View>| view.map_or(1, |view| view.rows() as u32).max(1);
    let paged = named("slots").is_some() || named("page_table").is_some();
    let pages = inputs.context / PAGE_TOKENS + 1;
    let words: Vec<u32> = match operand.name {
        "ids" => {
            let table = rows(named("weight").or(named("dweight")));
            (0..n).map(|i| scattered(i) % table).collect()
        }
        "labels" => (0..n).map(|i| scattered(i) % rows(named("weight"))).collect(),
        "positions" if paged => vec![inputs.context; n as usize],
        "positions" => (0..n).map(|i| i % inputs.document.max(1)).collect(),
        "slots" => {
            let pool = rows(named("k"));
            (0..n)
                .map(|i| {
                    (i * pages + inputs.context / PAGE_TOKENS) % pool * PAGE_TOKENS
                        + inputs.context % PAGE_TOKENS
                })
                .collect()
        }
        "page_table" => {
            let (width, pool) = (operand.view.row_elements() as u32, rows(named("k")));
            (0..n).map(|i| (i / width * pages + i % width) % pool).collect()
        }
        "cu_seqlens" => {
            let (documents, tokens) = (n.saturating_sub(1).max(1), rows(named("q")));
            (0..n).map(|i| (u64::from(tokens) * u64::from(i) / u64::from(documents)) as u32).collect()
        }
        // Temperature 1, nothing cut off: how rollouts sample.
        "sampling" => (0..n)
            .map(|i| match i % 8 {
                0 | 2 => 1f32.to_bits(),
                6 => inputs.context,
                7 => i / 8,
                _ => 0,
            })
            .collect(),
        _ => return None,
    };
    matches!(operand.view.dtype, DType::U32 | DType::I32).then_some(words)
}

/// Row i's id: all over the vocabulary, as text is not sorted.
fn scattered(i: u32) -> u32 {
    i.wrapping_mul(0x9e37_79b1) >> 8
}
