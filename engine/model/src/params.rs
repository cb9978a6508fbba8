//! The flat arena: where every parameter of a model lies.
//!
//! The arena is a list of buckets: the embedding; one a layer, all of one size and internal layout; the
//! head and final norm. Inside a bucket matrices come first, then norms and biases, so that one number a
//! bucket says what decays. Tensors start at multiples of [`TENSOR_ALIGN`] elements, buckets are padded to
//! multiples of [`BUCKET_ALIGN`]. The offsets are in elements: weights, gradients, remainders and moments
//! are arenas of the same table in different buffers and dtypes. Padding is zero and stays zero.

use crate::ModelConfig;
use octo_ops::{BufferId, DType, View};
use std::ops::Range;

/// Tensors start at multiples of this many elements: 256 bytes in bf16.
pub const TENSOR_ALIGN: u64 = 128;
/// Buckets end at multiples of this many elements, so that 64 ranks can own equal, aligned slices.
pub const BUCKET_ALIGN: u64 = 64 * TENSOR_ALIGN;
/// Gate and up rows alternate in blocks of this many, so that one thread's fragment holds both.
const INTERLEAVE: u32 = 8;

/// Names one parameter of a [`ParamTable`]; numbered in arena order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Param(u32);

/// An arena: a buffer laid out by a [`ParamTable`], from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flat {
    /// The buffer.
    pub buffer: BufferId,
    /// The dtype of all its elements.
    pub dtype: DType,
}

/// The parameters of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerParams {
    /// `[hidden]`: the norm before attention.
    pub norm1: Param,
    /// `[q + k + v widths, hidden]`: rows of q, then k, then v.
    pub qkv: Param,
    /// `[q + k + v widths]`, where the family has one.
    pub qkv_bias: Option<Param>,
    /// `[hidden, q width]`.
    pub o: Param,
    /// `[hidden]`: the norm before the feed-forward layer.
    pub norm2: Param,
    /// `[2 · intermediate, hidden]`: eight gate rows, eight up rows, and so on.
    pub gate_up: Param,
    /// `[hidden, intermediate]`.
    pub down: Param,
}

/// One tensor of the Hugging Face layout, and which rows of a [`Param`] are its rows.
///
/// Its row r is row `first_row + (r / block_rows) · stride_rows + r mod block_rows` of the parameter.
/// A vector is a matrix of one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The Hugging Face name.
    pub name: String,
    /// The Hugging Face shape.
    pub shape: Vec<u32>,
    /// Where its first row lies.
    pub first_row: u32,
    /// Rows that stay together.
    pub block_rows: u32,
    /// Rows from one block to the next.
    pub stride_rows: u32,
}

impl Source {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|&n| n as u64).product()
    }

    /// Elements a row.
    fn columns(&self) -> u64 {
        self.shape[1..].iter().map(|&n| n as u64).product()
    }

    /// The run of elements that starts at element `first` of this tensor and is contiguous on both sides:
    /// its first element in the parameter, and its length.
    pub fn run(&self, first: u64) -> (u64, u64) {
        let columns = self.columns();
        let (row, column) = (first / columns, first % columns);
        let (block, within) = (row / self.block_rows as u64, row % self.block_rows as u64);
        let arena_row = self.first_row as u64 + block * self.stride_rows as u64 + within;
        (arena_row * columns + column, (self.block_rows as u64 - within) * columns - column)
    }

    /// The inverse of [`Source::run`]: the run that starts at element `first` of the parameter, as this
    /// tensor's first element and length; `None` where that element is another tensor's.
    pub fn run_in_param(&self, first: u64) -> Option<(u64, u64)> {
        let columns = self.columns();
        let (row, column) = ((first / columns).checked_sub(self.first_row as u64)?, first % columns);
        let (block, within) = (row / self.stride_rows as u64, row % self.stride_rows as u64);
        let own_row = block * self.block_rows as u64 + within;
        (within < self.block_rows as u64 && own_row < self.shape[0] as u64)
            .then(|| (own_row * columns + column, (self.block_rows as u64 - within) * columns - column))
    }
}

/// One contiguous part of the arena that is reduced, sharded and updated as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Elements of the arena, padding included.
    pub range: Range<u64>,
    /// First element that does not decay.
    pub undecayed: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    name: String,
    shape: Vec<u32>,
    offset: u64,
    sources: Vec<Source>,
}

/// Every parameter of a model: names, shapes, places, and how each maps to Hugging Face tensors.
#[derive(Clone, Debug)]
pub struct ParamTable {
    entries: Vec<Entry>,
    buckets: Vec<Bucket>,
    layers: Vec<LayerParams>,
    embedding: Param,
    final_norm: Param,
    head: Param,
}

impl ParamTable {
    /// Lays out the model of a config.
    pub fn new(config: &ModelConfig) -> ParamTable {
        let (hidden, ffn, vocab) = (config.hidden_size, config.intermediate_size, config.vocab_size);
        let (q, kv) = (config.q_width(), config.kv_width());
        let mut build = Builder::default();

        let embedding = build.whole("embedding", "model.embed_tokens.weight", &[vocab, hidden]);
        build.vectors_from_here();
        build.close_bucket();

        let layers = (0..config.num_hidden_layers)
            .map(|l| {
                let ours = |name: &str| format!("layers.{l}.{name}");
                let theirs = |name: &str| format!("model.layers.{l}.{name}");
                let attention = |kind: &str| {
                    [("q", q), ("k", kv), ("v", kv)]
                        .map(|(part, rows)| (theirs(&format!("self_attn.{part}_proj.{kind}")), rows))
                };
                let qkv = build.stacked(&ours("qkv"), attention("weight"), Some(hidden));
                let o = build.whole(&ours("o"), &theirs("self_attn.o_proj.weight"), &[hidden, q]);
                let gate_up = build.interleaved(
                    &ours("gate_up"),
                    [theirs("mlp.gate_proj.weight"), theirs("mlp.up_proj.weight")],
                    ffn,
                    hidden,
                );
                let down = build.whole(&ours("down"), &theirs("mlp.down_proj.weight"), &[hidden, ffn]);
                build.vectors_from_here();
                let norm1 = build.whole(&ours("norm1"), &theirs("input_layernorm.weight"), &[hidden]);
                let norm2 =
                    build.whole(&ours("norm2"), &theirs("post_attention_layernorm.weight"), &[hidden]);
                let qkv_bias =
                    config.qkv_bias.then(|| build.stacked(&ours("qkv_bias"), attention("bias"), None));
                build.close_bucket();
                LayerParams { norm1, qkv, qkv_bias, o, norm2, gate_up, down }
            })
            .collect();

        let head = match config.tie_word_embeddings {
            true => embedding,
            false => build.whole("head", "lm_head.weight", &[vocab, hidden]),
        };
        build.vectors_from_here();
        let final_norm = build.whole("final_norm", "model.norm.weight", &[hidden]);
        build.close_bucket();

        ParamTable { entries: build.entries, buckets: build.buckets, layers, embedding, final_norm, head }
    }

    /// All parameters, in arena order.
    pub fn params(&self) -> impl ExactSizeIterator<Item = Param> + use<> {
        (0..self.entries.len() as u32).map(Param)
    }

    /// `[vocab, hidden]`.
    pub fn embedding(&self) -> Param {
        self.embedding
    }

    /// `[hidden]`.
    pub fn final_norm(&self) -> Param {
        self.final_norm
    }

    /// `[vocab, hidden]`; the embedding itself in a tied model.
    pub fn head(&self) -> Param {
        self.head
    }

    /// The layers, in order.
    pub fn layers(&self) -> &[LayerParams] {
        &self.layers
    }

    /// The buckets, in arena order: embedding, layers, head and final norm.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// The engine's own name, such as "layers.3.gate_up".
    pub fn name(&self, param: Param) -> &str {
        &self.entry(param).name
    }

    /// The shape: `[rows, columns]` or `[elements]`.
    pub fn shape(&self, param: Param) -> &[u32] {
        &self.entry(param).shape
    }

    /// The elements of the arena, without padding.
    pub fn range(&self, param: Param) -> Range<u64> {
        let entry = self.entry(param);
        entry.offset..entry.offset + entry.elements()
    }

    /// The Hugging Face tensors it is made of; together they are all its rows.
    pub fn sources(&self, param: Param) -> &[Source] {
        &self.entry(param).sources
    }

    /// The parameter in one arena.
    pub fn view(&self, flat: Flat, param: Param) -> View {
        let entry = self.entry(param);
        View::new(flat.buffer, entry.offset * flat.dtype.bytes(), flat.dtype, &entry.shape)
    }

    /// Elements of an arena, padding included.
    pub fn total_elements(&self) -> u64 {
        self.buckets.last().map_or(0, |bucket| bucket.range.end)
    }

    /// Ranges with weight decay: matrices, embedding and head included, with the padding between them.
    /// One a bucket, ascending; empty ones are left out.
    pub fn decayed_ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.buckets.iter().map(|b| b.range.start..b.undecayed).filter(|r| !r.is_empty())
    }

    /// The rest: norms, biases and the padding after them. With the decayed ranges, every element once.
    pub fn undecayed_ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.buckets.iter().map(|b| b.undecayed..b.range.end).filter(|r| !r.is_empty())
    }

    /// Trained numbers, without padding; a tied head counts once.
    pub fn parameter_count(&self) -> u64 {
        self.entries.iter().map(Entry::elements).sum()
    }

    /// Numbers of the matrices a token is multiplied with: all but the embedding's lookup, the head
    /// included even where it is tied. A forward pass costs two flops a token for each.
    pub fn matmul_parameter_count(&self) -> u64 {
        let matrices: u64 = self.entries.iter().filter(|e| e.shape.len() == 2).map(Entry::elements).sum();
        match self.head == self.embedding {
            true => matrices,
            false => matrices - self.entry(self.embedding).elements(),
        }
    }

    fn entry(&self, param: Param) -> &Entry {
        &self.entries[param.0 as usize]
    }
}

impl Entry {
    fn elements(&self) -> u64 {
        self.shape.iter().map(|&n| n as u64).product()
    }
}

/// Places tensors one after another.
#[derive(Default)]
struct Builder {
    entries: Vec<Entry>,
    buckets: Vec<Bucket>,
    bucket_start: u64,
    undecayed: u64,
    next: u64,
}

impl Builder {
    fn whole(&mut self, name: &str, source: &str, shape: &[u32]) -> Param {
        let source = Source {
            name: source.to_owned(),
            shape: shape.to_vec(),
            first_row: 0,
            block_rows: shape[0],
            stride_rows: shape[0],
        };
        self.place(name, shape.to_vec(), vec![source])
    }

    fn stacked(&mut self, name: &str, parts: [(String, u32); 3], columns: Option<u32>) -> Param {
        let mut rows = 0;
        let sources = parts.map(|(name, part_rows)| {
            let shape = [part_rows].into_iter().chain(columns).collect();
            let first_row = rows;
            rows += part_rows;
            Source { name, shape, first_row, block_rows: part_rows, stride_rows: part_rows }
        });
        self.place(name, [rows].into_iter().chain(columns).collect(), sources.to_vec())
    }

    fn interleaved(&mut self, name: &str, parts: [String; 2], rows: u32, columns: u32) -> Param {
        let mut first_row = 0;
        let sources = parts.map(|name| {
            let source = Source {
                name,
                shape: vec![rows, columns],
                first_row,
                block_rows: INTERLEAVE,
                stride_rows: 2 * INTERLEAVE,
            };
            first_row += INTERLEAVE;
            source
        });
        self.place(name, vec![2 * rows, columns], sources.to_vec())
    }

    fn place(&mut self, name: &str, shape: Vec<u32>, sources: Vec<Source>) -> Param {
        let entry = Entry { name: name.to_owned(), shape, offset: self.next, sources };
        self.next = (self.next + entry.elements()).next_multiple_of(TENSOR_ALIGN);
        self.entries.push(entry);
        Param(self.entries.len() as u32 - 1)
    }

    fn vectors_from_here(&mut self) {
        self.undecayed = self.next;
    }

    fn close_bucket(&mut self) {
        self.next = self.next.next_multiple_of(BUCKET_ALIGN);
        self.buckets.push(Bucket { range: self.bucket_start..self.next, undecayed: self.undecayed });
        self.bucket_start = self.next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn table(
        qwen: bool,
        tied: bool,
        heads: u32,
        groups: u32,
        head_dim: u32,
        ffn: u32,
        layers: u32,
    ) -> ParamTable {
        let config = json!({
            "model_type": if qwen { "qwen2" } else { "llama" }, "tie_word_embeddings": tied,
            "hidden_size": heads * groups * 8, "intermediate_size": ffn * 8, "num_hidden_layers": layers,
            "num_attention_heads": heads * groups, "num_key_value_heads": heads, "head_dim": head_dim * 8,
            "vocab_size": 131,
        });
        ParamTable::new(&ModelConfig::from_value(config, "test").unwrap())
    }

    fn any_table() -> impl Strategy<Value = ParamTable> {
        (any::<bool>(), any::<bool>(), 1u32..4, 1u32..4, 1u32..4, 1u32..12, 1u32..4).prop_map(
            |(qwen, tied, heads, groups, dim, ffn, layers)| {
                table(qwen, tied, heads, groups, dim, ffn, layers)
            },
        )
    }

    proptest! {
        #[test]
        fn parameters_are_aligned_ascending_and_inside_one_bucket(table in any_table()) {
            let mut end = 0;
            for param in table.params() {
                let range = table.range(param);
                prop_assert!(range.start >= end && range.start % TENSOR_ALIGN == 0);
                prop_assert!(range.start - end < BUCKET_ALIGN);
                end = range.end;
                let bucket = table.buckets().iter().find(|b| b.range.contains(&range.start)).unwrap();
                prop_assert!(range.end <= bucket.range.end);
                prop_assert_eq!(range.end <= bucket.undecayed, table.shape(param).len() == 2);
                prop_assert_eq!(range.start >= bucket.undecayed, table.shape(param).len() == 1);
            }
            prop_assert!(table.buckets().iter().all(|b| b.range.end % BUCKET_ALIGN == 0));
        }

        #[test]
        fn all_layers_share_one_size_and_layout(table in any_table()) {
            let first = &table.buckets()[1];
            let stride = first.range.end - first.range.start;
            for (l, layer) in table.layers().iter().enumerate() {
                let base = table.layers()[0];
                let shift = l as u64 * stride;
                let bucket = &table.buckets()[1 + l];
                prop_assert_eq!(bucket.range.clone(), first.range.start + shift..first.range.end + shift);
                prop_assert_eq!(bucket.undecayed, first.undecayed + shift);
                for (here, there) in [
                    (layer.qkv, base.qkv), (layer.o, base.o), (layer.gate_up, base.gate_up),
                    (layer.down, base.down), (layer.norm1, base.norm1), (layer.norm2, base.norm2),
                ].into_iter().chain(layer.qkv_bias.zip(base.qkv_bias)) {
                    prop_assert_eq!(table.range(here).start, table.range(there).start + shift);
                }
            }
        }

        #[test]
        fn decayed_and_undecayed_ranges_hold_every_element_once(table in any_table()) {
            let mut ranges: Vec<_> = table.decayed_ranges().chain(table.undecayed_ranges()).collect();
            ranges.sort_by_key(|r| r.start);
            let mut end = 0;
            for range in ranges {
                prop_assert_eq!(range.start, end);
                end = range.end;
            }
            prop_assert_eq!(end, table.total_elements());
        }

        #[test]
        fn sources_hold_every_element_of_a_parameter_once(table in any_table()) {
            for param in table.params() {
                let range = table.range(param);
                let mut seen = vec![0u8; (range.end - range.start) as usize];
                for source in table.sources(param) {
                    for element in 0..source.elements() {
                        let (place, length) = source.run(element);
                        seen[place as usize] += 1;
                        prop_assert_eq!(source.run_in_param(place), Some((element, length)));
                    }
                }
                prop_assert!(seen.iter().all(|&n| n == 1));
                for element in 0..seen.len() as u64 {
                    let owners = table.sources(param).iter().filter(|s| s.run_in_param(element).is_some());
                    prop_assert_eq!(owners.count(), 1);
                }
            }
        }
    }

    #[test]
    fn gate_and_up_rows_alternate_in_eights() {
        let table = table(false, false, 1, 1, 1, 2, 1);
        let param = table.layers()[0].gate_up;
        let [gate, up] = table.sources(param) else { panic!("two sources") };
        let row = |source: &Source, r: u64| source.run(r * 8).0 / 8;
        assert_eq!([0, 7, 8, 15].map(|r| row(gate, r)), [0, 7, 16, 23]);
        assert_eq!([0, 7, 8, 15].map(|r| row(up, r)), [8, 15, 24, 31]);
        assert_eq!(gate.run(8 * 8 + 3), (16 * 8 + 3, 8 * 8 - 3));
    }

    #[test]
    fn a_tied_head_is_the_embedding() {
        let tied = table(true, true, 2, 1, 1, 2, 1);
        assert_eq!(tied.head(), tied.embedding());
        let untied = table(true, false, 2, 1, 1, 2, 1);
        let head = 131 * 16;
        assert_eq!(untied.parameter_count(), tied.parameter_count() + head);
        assert_eq!(untied.matmul_parameter_count(), tied.matmul_parameter_count());
        // q, k, v, o: 4·16·16; gate, up, down: 3·16·16.
        assert_eq!(tied.matmul_parameter_count(), 7 * 256 + head);
        // Norms 3·16, biases 3·16.
        assert_eq!(tied.parameter_count(), 7 * 256 + head + 96);
    }

    #[test]
    fn known_models_have_their_known_sizes() {
        let count = |config: serde_json::Value| {
            let table = ParamTable::new(&ModelConfig::from_value(config, "test").unwrap());
            (table.parameter_count(), table.matmul_parameter_count())
        };
        let llama_3_2_1b = json!({
            "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
            "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
            "tie_word_embeddings": true,
        });
        assert_eq!(count(llama_3_2_1b), (1_235_814_400, 1_235_746_816));
        let qwen_2_5_7b = json!({
            "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
            "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
        });
        assert_eq!(count(qwen_2_5_7b).0, 7_615_616_512);
    }
}
