//! What GPUs have a second, each number with where it is from.

use octo_ptx::numerics::Architecture;

/// Where a number comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The vendor's documents.
    Documented,
    /// Somebody's published measurement on the same architecture.
    Published,
    /// Ours to measure: until then an assumption.
    Assumed,
}

/// A GPU as predictions know it.
#[derive(Clone, Debug, PartialEq)]
pub struct Chip {
    /// As users write it.
    pub name: &'static str,
    /// Limits of its multiprocessors.
    pub architecture: Architecture,
    /// How many there are.
    pub multiprocessors: u32,
    /// Their clock under load, in Hz.
    pub clock: f64,
    /// Dense bf16 operations a second of its data sheet: what MFU divides by.
    pub peak_flops: f64,
    /// bf16 operations a clock and multiprocessor of `mma.sync`.
    pub mma_flops: f64,
    /// Bytes a second that a plain copy moves, reads and writes together.
    pub dram_bytes: f64,
    /// Bytes a clock from L2 to all multiprocessors.
    pub l2_bytes: f64,
    /// Clocks from a global load to its value, past L2.
    pub latency: f64,
    /// Seconds from the end of a kernel to the start of the next in a graph.
    pub boundary: f64,
    /// Where each number is from, by the field's name.
    pub sources: &'static [(&'static str, Source, &'static str)],
}

impl Chip {
    /// Warp instructions a clock and multiprocessor: four schedulers (CUDA C++ Programming Guide, compute capability
    /// 8.x and 9.0).
    pub const ISSUE: f64 = 4.0;
    /// Warp instructions a clock and multiprocessor of the special function units: 16 lanes (the same guide, arithmetic
    /// instructions).
    pub const SPECIAL: f64 = 0.5;
    /// The same of integer arithmetic, logic and comparison: 64 lanes.
    pub const INTEGER: f64 = 2.0;
    /// Shared-memory wavefronts a clock and multiprocessor: 32 banks of four bytes.
    pub const WAVEFRONTS: f64 = 1.0;
    /// Bytes a clock that one multiprocessor takes from L2 at most (NVIDIA A100 architecture whitepaper: 64).
    pub const SM_L2_BYTES: f64 = 64.0;

    /// Compute capability.
    pub fn capability(&self) -> (u32, u32) {
        match self.architecture {
            Architecture::Ampere => (8, 0),
            Architecture::Hopper => (9, 0),
        }
    }

    /// The chip of this name.
    pub fn named(name: &str) -> Option<&'static Chip> {
        Chip::ALL.iter().find(|chip| chip.name == name)
    }

    /// NVIDIA H200 SXM, H100 SXM and A100 SXM 80 GB.
    pub const ALL: [Chip; 3] = [
        Chip {
            name: "h200",
            architecture: Architecture::Hopper,
            multiprocessors: 132,
            clock: 1.83e9,
            peak_flops: 989.4e12,
            mma_flops: HOPPER_MMA,
            dram_bytes: 4.3e12,
            l2_bytes: 5120.0,
            latency: 479.0,
            boundary: 1.3e-6,
            sources: &[
                ("multiprocessors", Source::Documented, "H200 data sheet"),
                (
                    "clock",
                    Source::Documented,
                    "the clock at which the data sheet's peak holds; under load unmeasured",
                ),
                ("peak_flops", Source::Documented, "H200 data sheet, dense bf16"),
                ("mma_flops", Source::Published, "62.9 % of the peak: Luo et al. 2024, arXiv 2402.13499"),
                ("dram_bytes", Source::Assumed, "0.9 of 4.8 TB/s"),
                ("l2_bytes", Source::Assumed, "as A100's whitepaper says of A100"),
                ("latency", Source::Published, "global memory of an H100: Luo et al. 2024"),
                ("boundary", Source::Published, "H100, graphs: Spector et al. 2025, \"Look Ma, No Bubbles\""),
            ],
        },
        Chip {
            name: "h100",
            architecture: Architecture::Hopper,
            multiprocessors: 132,
            clock: 1.83e9,
            peak_flops: 989.4e12,
            mma_flops: HOPPER_MMA,
            dram_bytes: 3.0e12,
            l2_bytes: 5120.0,
            latency: 479.0,
            boundary: 1.3e-6,
            sources: &[
                ("multiprocessors", Source::Documented, "H100 SXM data sheet"),
                (
                    "clock",
                    Source::Documented,
                    "the clock at which the data sheet's peak holds; under load unmeasured",
                ),
                ("peak_flops", Source::Documented, "H100 SXM data sheet, dense bf16"),
                ("mma_flops", Source::Published, "62.9 % of the peak: Luo et al. 2024, arXiv 2402.13499"),
                ("dram_bytes", Source::Published, "0.9 of 3.35 TB/s: QuACK's norms on an H100"),
                ("l2_bytes", Source::Assumed, "as A100's whitepaper says of A100"),
                ("latency", Source::Published, "Luo et al. 2024"),
                ("boundary", Source::Published, "H100, graphs: Spector et al. 2025, \"Look Ma, No Bubbles\""),
            ],
        },
        Chip {
            name: "a100",
            architecture: Architecture::Ampere,
            multiprocessors: 108,
            clock: 1.41e9,
            peak_flops: 312.0e12,
            mma_flops: 2048.0,
            dram_bytes: 1.83e12,
            l2_bytes: 5120.0,
            latency: 466.0,
            boundary: 1.3e-6,
            sources: &[
                ("multiprocessors", Source::Documented, "A100 whitepaper"),
                ("clock", Source::Documented, "A100 whitepaper, boost; under load unmeasured"),
                ("peak_flops", Source::Documented, "A100 whitepaper, dense bf16"),
                (
                    "mma_flops",
                    Source::Documented,
                    "A100 whitepaper: 1,024 multiply-adds a clock and multiprocessor",
                ),
                ("dram_bytes", Source::Assumed, "0.9 of 2.04 TB/s"),
                ("l2_bytes", Source::Documented, "A100 whitepaper: 5,120 bytes a clock"),
                ("latency", Source::Published, "Luo et al. 2024"),
                ("boundary", Source::Assumed, "as H100's"),
            ],
        },
    ];
}

/// Tensor cores of sm_90 at 4,096 operations a clock with `wgmma`; `mma.sync` gets 62.9 % of that.
const HOPPER_MMA: f64 = 0.629 * 4096.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_multiprocessors_times_clock_times_tensor_cores() {
        for (chip, dense) in Chip::ALL.iter().zip([4096.0, 4096.0, 2048.0]) {
            let peak = f64::from(chip.multiprocessors) * chip.clock * dense;
            assert!((peak / chip.peak_flops - 1.0).abs() < 0.001, "{}: {peak}", chip.name);
            assert!(chip.mma_flops <= dense);
        }
    }

    #[test]
    fn every_number_has_a_source() {
        let fields = [
            "multiprocessors",
            "clock",
            "peak_flops",
            "mma_flops",
            "dram_bytes",
            "l2_bytes",
            "latency",
            "boundary",
        ];
        for chip in &Chip::ALL {
            let named: Vec<&str> = chip.sources.iter().map(|(field, _, _)| *field).collect();
            assert_eq!(named, fields, "{}", chip.name);
        }
        assert_eq!(Chip::named("a100").map(|chip| chip.multiprocessors), Some(108));
        assert!(Chip::named("none").is_none());
    }
}
