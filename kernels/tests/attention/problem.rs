//! Documents on a device: tokens by formula, results as bits.

use crate::device::Device;
use octo_kernels::attention::attention;
use octo_kernels::tuning::{Capability, Tuning};
use octo_ops::{Attention, DType, PAGE_TOKENS, View};
use octo_ptx::sim::Report;

/// Queries at positions `first` onwards of a document. What a token holds depends on the document's name and the
/// token's position alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queries {
    pub document: u32,
    pub first: u32,
    pub count: u32,
}

/// All tokens of a document.
pub const fn whole(document: u32, tokens: u32) -> Queries {
    Queries { document, first: 0, count: tokens }
}

/// One token.
pub const fn one(document: u32, position: u32) -> Queries {
    Queries { document, first: position, count: 1 }
}

/// Query heads, key-value heads, elements of a head.
pub type Heads = [u32; 3];

/// Of each token that was asked for, in order: bits of the output as they stand for f32, then of the log-sum-exp.
pub type Bits = Vec<Vec<u32>>;

/// The table as it is, or with one row for everything, whose blocks walk all keys.
pub fn tuning(entry: Option<&str>) -> Tuning {
    let mut tuning = Tuning::new(Capability::A100);
    if let Some(entry) = entry {
        tuning.fix("attention", entry).unwrap();
    }
    tuning
}

/// Large and small scores, so that maxima move from block to block.
pub fn value(operand: u32, document: u32, position: u32, column: u32) -> f32 {
    let mut z = (u64::from(document) << 40) ^ (u64::from(position) << 20) ^ u64::from(column * 4 + operand);
    for _ in 0..3 {
        z = (z ^ (z >> 29)).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    let unit = (z >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
    let size = if (position / 50).is_multiple_of(3) { 5.0 } else { 2.0 };
    unit * size
}

pub fn rows(asked: &[Queries]) -> Vec<(u32, u32)> {
    asked.iter().flat_map(|q| (q.first..q.first + q.count).map(|position| (q.document, position))).collect()
}

pub fn bounds(asked: &[Queries]) -> Vec<f32> {
    let ends = asked.iter().scan(0, |end, q| {
        *end += q.count;
        Some(*end as f32)
    });
    std::iter::once(0.0).chain(ends).collect()
}

pub fn indices(device: &mut Device, name: &str, [rows, columns]: [u32; 2], values: &[f32]) -> View {
    let view = device.matrix(name, DType::U32, [rows, columns], columns);
    device.write(&view, |row, column| values[(row * columns + column) as usize]);
    match columns {
        1 => View::new(view.buffer, 0, DType::U32, &[rows]),
        _ => view,
    }
}

struct Problem<'a> {
    device: &'a mut Device,
    asked: &'a [Queries],
    heads: Heads,
    /// Elements after each row of queries, keys, values and outputs.
    gap: u32,
}

impl Problem<'_> {
    fn tokens(&self) -> u32 {
        rows(self.asked).len() as u32
    }

    fn output(&mut self, name: &str, columns: u32) -> View {
        self.device.matrix(name, DType::Bf16, [self.tokens(), columns], columns + self.gap)
    }

    fn operand(&mut self, name: &str, operand: u32, heads: u32) -> View {
        let view = self.output(name, heads * self.heads[2]);
        let rows = rows(self.asked);
        self.device.write(&view, |row, column| {
            let (document, position) = rows[row as usize];
            value(operand, document, position, column)
        });
        view
    }

    /// Pages of every document up to the last position asked for, scattered; nothing else in them is written.
    fn pages(&mut self, name: &str, operand: u32, table: &PageTable) -> View {
        let [_, kv_heads, head_dim] = self.heads;
        let slots = table.pages * kv_heads * PAGE_TOKENS;
        let all = self.device.matrix(name, DType::Bf16, [slots, head_dim], head_dim);
        for &(document, keys) in &table.documents {
            for (key, head) in (0..keys).flat_map(|key| (0..kv_heads).map(move |head| (key, head))) {
                let page = table.page(document, key / PAGE_TOKENS);
                let slot = (page * kv_heads + head) * PAGE_TOKENS + key % PAGE_TOKENS;
                let at = all.slice_rows(slot, 1);
                self.device.write(&at, |_, column| value(operand, document, key, head * head_dim + column));
            }
        }
        View::new(all.buffer, 0, DType::Bf16, &[table.pages, kv_heads, PAGE_TOKENS, head_dim])
    }

    fn run(mut self, tuning: &Tuning, k: View, v: View, table: Option<[View; 2]>) -> (Bits, Vec<Report>) {
        let [heads, _, head_dim] = self.heads;
        let op = Attention {
            q: self.operand("q", 0, heads),
            k,
            v,
            cu_seqlens: {
                let bounds = bounds(self.asked);
                indices(self.device, "cu_seqlens", [bounds.len() as u32, 1], &bounds)
            },
            positions: table.map(|[positions, _]| positions),
            page_table: table.map(|[_, pages]| pages),
            out: self.output("out", heads * head_dim),
            lse: self.device.matrix("lse", DType::F32, [rows(self.asked).len() as u32, heads], heads),
            head_dim,
            scale: 1.0 / (head_dim as f32).sqrt(),
        };
        octo_ops::Op::from(op).check().unwrap();
        let launches = attention(&op, self.device, tuning).unwrap();
        let run =
            |launch| self.device.launch(launch).unwrap_or_else(|fault| panic!("{:?}: {fault}", self.asked));
        let reports = launches.iter().map(run).collect();
        let (out, lse) = (self.device.read(&op.out), self.device.read(&op.lse));
        let bits = out.into_iter().zip(lse);
        (bits.map(|(out, lse)| out.into_iter().chain(lse).map(f32::to_bits).collect()).collect(), reports)
    }
}

/// Where the pages of documents lie: each document's descend, with holes between.
struct PageTable {
    documents: Vec<(u32, u32)>,
    pages: u32,
    width: u32,
}

impl PageTable {
    fn of(asked: &[Queries], room: u32) -> PageTable {
        let mut documents: Vec<(u32, u32)> = Vec::new();
        for q in asked {
            let keys = q.first + q.count;
            match documents.iter_mut().find(|(document, _)| *document == q.document) {
                Some((_, most)) => *most = keys.max(*most),
                None => documents.push((q.document, keys)),
            }
        }
        let width = documents.iter().map(|&(_, keys)| keys.div_ceil(PAGE_TOKENS)).fold(room, u32::max);
        PageTable { pages: 2 * width * documents.len() as u32, width, documents }
    }

    fn page(&self, document: u32, index: u32) -> u32 {
        let place = self.documents.iter().position(|&(name, _)| name == document).unwrap() as u32;
        2 * ((place + 1) * self.width - 1 - index) + place % 2
    }
}

/// Packed rows: every document from its first token.
pub fn packed(device: &mut Device, tuning: &Tuning, heads: Heads, asked: &[Queries]) -> (Bits, Report) {
    packed_apart(device, tuning, heads, asked, 0)
}

/// As [`packed`], with a gap of so many elements after each row.
pub fn packed_apart(
    device: &mut Device,
    tuning: &Tuning,
    heads: Heads,
    asked: &[Queries],
    gap: u32,
) -> (Bits, Report) {
    assert!(asked.iter().all(|q| q.first == 0));
    let mut problem = Problem { device, asked, heads, gap };
    let (k, v) = (problem.operand("k", 1, heads[1]), problem.operand("v", 2, heads[1]));
    let (bits, mut reports) = problem.run(tuning, k, v, None);
    assert_eq!(reports.len(), 1, "{asked:?}");
    (bits, reports.remove(0))
}

/// Keys and values in pages. A document may be asked from several places at once: they share its pages. A report for each
/// launch: one, or two where segments of the keys are walked apart.
pub fn paged(device: &mut Device, tuning: &Tuning, heads: Heads, asked: &[Queries]) -> (Bits, Vec<Report>) {
    paged_in(device, tuning, heads, asked, 0)
}

/// As [`paged`], with room for at least so many pages a document.
pub fn paged_in(
    device: &mut Device,
    tuning: &Tuning,
    heads: Heads,
    asked: &[Queries],
    room: u32,
) -> (Bits, Vec<Report>) {
    let table = PageTable::of(asked, room);
    let mut problem = Problem { device, asked, heads, gap: 0 };
    let (k, v) = (problem.pages("k", 1, &table), problem.pages("v", 2, &table));
    let positions: Vec<f32> = rows(asked).iter().map(|&(_, position)| position as f32).collect();
    let positions = indices(problem.device, "positions", [positions.len() as u32, 1], &positions);
    let entries: Vec<f32> = asked
        .iter()
        .flat_map(|q| {
            let pages = (q.first + q.count).div_ceil(PAGE_TOKENS);
            let table = &table;
            (0..table.width).map(move |i| if i < pages { table.page(q.document, i) as f32 } else { 1e6 })
        })
        .collect();
    let page_table = View::new(
        indices(problem.device, "page_table", [entries.len() as u32, 1], &entries).buffer,
        0,
        DType::U32,
        &[asked.len() as u32, table.width],
    );
    problem.run(tuning, k, v, Some([positions, page_table]))
}
