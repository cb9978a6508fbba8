//! Hugging Face model directories: safetensors, config and the files beside them.

mod average;
pub(crate) mod files;
pub mod fuzz;
mod header;
mod read;
mod read_all;
mod write;

pub use average::Average;
pub use read::{ModelDir, ParamFiles, model_path};
pub use write::{Companions, Export, FileSink, MAX_SHARD_BYTES, Values, write_params};

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// The type weights have in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightDType {
    /// Single precision.
    F32,
    /// The upper half of single precision.
    Bf16,
    /// IEEE half precision.
    F16,
}

impl WeightDType {
    /// Bytes of one element.
    pub const fn bytes(self) -> u64 {
        match self {
            WeightDType::F32 => 4,
            WeightDType::Bf16 | WeightDType::F16 => 2,
        }
    }

    /// The name in a safetensors header.
    pub(crate) const fn safetensors_name(self) -> &'static str {
        match self {
            WeightDType::F32 => "F32",
            WeightDType::Bf16 => "BF16",
            WeightDType::F16 => "F16",
        }
    }

    pub(crate) fn from_safetensors_name(name: &str) -> Option<WeightDType> {
        [WeightDType::F32, WeightDType::Bf16, WeightDType::F16]
            .into_iter()
            .find(|dtype| dtype.safetensors_name() == name)
    }

    /// The name in a `config.json`.
    pub const fn torch_name(self) -> &'static str {
        match self {
            WeightDType::F32 => "float32",
            WeightDType::Bf16 => "bfloat16",
            WeightDType::F16 => "float16",
        }
    }

    /// The dtype of a `config.json`'s name.
    pub fn from_torch_name(name: &str) -> Option<WeightDType> {
        [WeightDType::F32, WeightDType::Bf16, WeightDType::F16]
            .into_iter()
            .find(|dtype| dtype.torch_name() == name)
    }

    /// Little-endian bytes as f32, exactly.
    fn decode(self, bytes: &[u8], into: &mut [f32]) {
        match self {
            WeightDType::F32 => {
                for (value, bytes) in into.iter_mut().zip(bytes.as_chunks().0) {
                    *value = f32::from_le_bytes(*bytes);
                }
            }
            WeightDType::Bf16 => {
                for (value, bytes) in into.iter_mut().zip(bytes.as_chunks().0) {
                    *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
                }
            }
            WeightDType::F16 => {
                let halves: Vec<f16> = bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b)).collect();
                halves.convert_to_f32_slice(into);
            }
        }
    }

    /// f32 as little-endian bytes, rounded to nearest, ties to even.
    fn encode(self, values: &[f32], bytes: &mut Vec<u8>) {
        match self {
            WeightDType::F32 => bytes.extend(values.iter().flat_map(|v| v.to_le_bytes())),
            WeightDType::Bf16 => bytes.extend(values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes())),
            WeightDType::F16 => bytes.extend(values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(dtype: WeightDType, value: f32) -> Vec<u8> {
        let mut bytes = Vec::new();
        dtype.encode(&[value], &mut bytes);
        bytes
    }

    #[test]
    fn every_half_survives_decode_and_encode() {
        for dtype in [WeightDType::Bf16, WeightDType::F16] {
            for bits in 0..=u16::MAX {
                let mut value = [0.0];
                dtype.decode(&bits.to_le_bytes(), &mut value);
                if !value[0].is_nan() {
                    assert_eq!(encoded(dtype, value[0]), bits.to_le_bytes(), "{dtype:?} {bits:#06x}");
                }
            }
        }
    }

    #[test]
    fn f32_rounds_to_the_nearest_bf16_and_ties_to_even() {
        for (bits, expected) in [
            (0x3f80_7fffu32, 0x3f80u16), // just below the tie
            (0x3f80_8000, 0x3f80),       // a tie, down to even
            (0x3f81_8000, 0x3f82),       // a tie, up to even
            (0x3f80_8001, 0x3f81),       // just above the tie
            (0xbf81_8000, 0xbf82),       // sign changes nothing
        ] {
            assert_eq!(encoded(WeightDType::Bf16, f32::from_bits(bits)), expected.to_le_bytes(), "{bits:#x}");
        }
    }
}
