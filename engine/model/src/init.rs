//! Random starts: every weight a pure function of the seed, its Hugging Face tensor and its place in it.
//!
//! Neither the arena's layout nor the order, the number of threads or the size of pieces changes a value.

use crate::{ModelConfig, Param, ParamTable, Source};
use octo_ops::philox::{self, Purpose};

/// Writes elements `first ..` of a parameter, in arena order, into the whole of `into`.
///
/// Matrices are normal with mean 0 and standard deviation `initializer_range`, norms 1, biases 0, as in
/// transformers. Elements past the parameter's end are left as they are.
pub fn fill(config: &ModelConfig, table: &ParamTable, seed: u64, param: Param, first: u64, into: &mut [f32]) {
    if table.shape(param).len() == 1 {
        let bias = table.layers().iter().any(|layer| layer.qkv_bias == Some(param));
        into.fill(if bias { 0.0 } else { 1.0 });
        return;
    }
    let mut done = 0;
    while let Some((source, (from, length))) = table
        .sources(param)
        .iter()
        .find_map(|s| s.run_in_param(first + done as u64).map(|run| (s, run)))
        .filter(|_| done < into.len())
    {
        let length = length.min((into.len() - done) as u64) as usize;
        fill_run(source, config.initializer_range, seed, from, &mut into[done..done + length]);
        done += length;
    }
}

fn fill_run(source: &Source, deviation: f64, seed: u64, first: u64, into: &mut [f32]) {
    let stream = fnv1a(source.name.as_bytes());
    let mut element = first;
    let mut rest = into;
    while !rest.is_empty() {
        let block = philox::normal(philox::draw(seed, Purpose::Init, stream, (element / 4) as u32));
        let skip = (element % 4) as usize;
        let length = (4 - skip).min(rest.len());
        let (now, later) = rest.split_at_mut(length);
        for (value, normal) in now.iter_mut().zip(&block[skip..]) {
            *value = (normal * deviation) as f32;
        }
        element += length as u64;
        rest = later;
    }
}

/// FNV-1a, 64 bits: a tensor's stream, from its name alone.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::HashSet;

    fn model() -> (ModelConfig, ParamTable) {
        let config = json!({
            "model_type": "qwen2", "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
            "num_attention_heads": 3, "num_key_value_heads": 1, "vocab_size": 131, "initializer_range": 0.5,
        });
        let config = ModelConfig::from_value(config, "test").unwrap();
        let table = ParamTable::new(&config);
        (config, table)
    }

    fn whole(seed: u64, param: Param) -> Vec<f32> {
        let (config, table) = model();
        let range = table.range(param);
        let mut values = vec![0.0; (range.end - range.start) as usize];
        fill(&config, &table, seed, param, 0, &mut values);
        values
    }

    proptest! {
        #[test]
        fn a_piece_equals_its_part_of_the_whole(pick in 0usize..32, cut in (0.0f64..1.0, 0.0f64..1.0)) {
            let (config, table) = model();
            let param = table.params().nth(pick % table.params().len()).unwrap();
            let all = whole(3, param);
            let ends = [cut.0, cut.1].map(|c| (c * all.len() as f64) as usize);
            let (start, end) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
            let mut piece = vec![0.0; end - start];
            fill(&config, &table, 3, param, start as u64, &mut piece);
            prop_assert_eq!(&piece[..], &all[start..end]);
        }
    }

    #[test]
    fn tensors_and_seeds_do_not_share_values() {
        let (_, table) = model();
        let (a, b) = (table.layers()[0], table.layers()[1]);
        let bits: Vec<u32> = [(1, a.o), (1, b.o), (2, a.o), (1, a.qkv)]
            .iter()
            .flat_map(|&(seed, p)| whole(seed, p))
            .map(f32::to_bits)
            .collect();
        let different: HashSet<u32> = bits.iter().copied().collect();
        assert!(different.len() as f64 > 0.999 * bits.len() as f64);
    }

    #[test]
    fn matrices_are_normal_norms_one_and_biases_zero() {
        let (_, table) = model();
        let embedding = whole(1, table.embedding());
        let variance = embedding.iter().map(|v| (v * v) as f64).sum::<f64>() / embedding.len() as f64;
        assert!((variance - 0.25).abs() < 0.02, "{variance}");
        let layer = table.layers()[1];
        assert!(whole(1, layer.norm2).iter().chain(&whole(1, table.final_norm())).all(|&v| v == 1.0));
        assert!(whole(1, layer.qkv_bias.unwrap()).iter().all(|&v| v == 0.0));
    }

    #[test]
    fn the_values_of_a_seed_never_change() {
        let (_, table) = model();
        let first: Vec<u32> = whole(1, table.layers()[0].gate_up)[..3].iter().map(|v| v.to_bits()).collect();
        assert_eq!(
            first,
            [0xbe18_6990, 0x3e7b_e356, 0xbd0b_cafb],
            "recorded once; a change breaks every recorded run"
        );
    }
}
