//! Which device a run gets.

use crate::Queue;
use octo_cpu::CpuBackend;
use octo_kernels::driver::{CudaDriver, Driver, DriverError, SimConfig, SimDriver};
use octo_kernels::{CudaBackend, WORKSPACE_BYTES};
use octo_ops::{Backend, DeviceInfo, Precision};

/// A device as recipes and `--device` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// CUDA where there is a driver and a GPU, else the CPU.
    Auto,
    /// CPU cores.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
    /// The CUDA kernels on a simulated GPU.
    Sim,
}

impl DeviceKind {
    /// What it says of itself, as far as that is known without opening it.
    pub fn unopened(self) -> DeviceInfo {
        let kind = Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name);
        let (precision, workspace) = match self {
            DeviceKind::Auto | DeviceKind::Cpu => (Precision::CPU, 0),
            DeviceKind::Cuda | DeviceKind::Sim => (Precision::CUDA, WORKSPACE_BYTES),
        };
        DeviceInfo {
            kind,
            description: format!("{kind}: not opened"),
            precision,
            asynchronous: matches!(self, DeviceKind::Cuda | DeviceKind::Sim),
            libraries: Vec::new(),
            workspace,
            available: None,
        }
    }

    /// The names, as users write them.
    pub const NAMES: [(&'static str, DeviceKind); 4] = [
        ("auto", DeviceKind::Auto),
        ("cpu", DeviceKind::Cpu),
        ("cuda", DeviceKind::Cuda),
        ("sim", DeviceKind::Sim),
    ];
}

/// Why no device was opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// `auto` found no GPU although the environment says that one was meant.
    #[error(
        "{variable} is set, so a GPU seems to be meant, but none can be used: {reason}; \
         say `--device cpu` (for train: `--set run.device=cpu`) to run on the CPU all the same"
    )]
    GpuMeant {
        /// The environment variable that says so.
        variable: &'static str,
        /// Why there is none.
        reason: String,
    },
    /// The device is there and does not work.
    #[error(
        "device `{device}` cannot be used: {reason}; `--device cpu` (for train: `--set run.device=cpu`) needs none"
    )]
    Device {
        /// Its name.
        device: &'static str,
        /// What it said.
        reason: String,
    },
    /// The CPU's thread pool could not be made.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// What the system said.
        reason: String,
    },
}

/// Variables that a scheduler or user sets to hand out GPUs, and the values that mean none.
const GPU_VARIABLES: [(&str, &[&str]); 4] = [
    ("CUDA_VISIBLE_DEVICES", &["", "-1"]),
    ("SLURM_JOB_GPUS", &[""]),
    ("SLURM_STEP_GPUS", &[""]),
    ("SLURM_GPUS_ON_NODE", &["", "0"]),
];

/// Memory of the device `sim`: as much as an H200 has, so that what fits there is planned alike here. The host's own
/// memory bounds it in fact, of which only what is written is taken.
const SIM_BYTES: u64 = 141_000_000_000;

/// The variable of the environment that makes queues eager ([`Queue::eager`]), unless it is empty or 0.
const EAGER: &str = "OCTO_EAGER";

/// Opens a device. `threads` bounds the CPU's threads; results do not depend on it. With `OCTO_EAGER` in the environment the
/// queue is eager.
pub fn open(kind: DeviceKind, threads: Option<usize>) -> Result<Queue, OpenError> {
    open_with(kind, threads, &[])
}

/// As [`open`], with kernels that serve every shape of an op from now on: pairs of an op's name and an entry of the
/// tuning table. Cores have no such kernels.
pub fn open_with(
    kind: DeviceKind,
    threads: Option<usize>,
    kernels: &[(&str, &str)],
) -> Result<Queue, OpenError> {
    let cores = || match CpuBackend::new(threads) {
        Ok(backend) => Ok(Box::new(backend) as Box<dyn Backend>),
        Err(reason) => Err(OpenError::Threads { threads: threads.unwrap_or(0), reason }),
    };
    let backend = match kind {
        DeviceKind::Cpu => cores()?,
        DeviceKind::Cuda => gpu(CudaDriver::open(0).map_err(|error| refused("cuda", &error))?, kernels)?,
        DeviceKind::Sim => {
            let config = SimConfig { memory: SIM_BYTES, ..SimConfig::new(threads) };
            on_driver("sim", Box::new(SimDriver::new(config)), kernels)?
        }
        DeviceKind::Auto => match CudaDriver::open(0) {
            Ok(driver) => gpu(driver, kernels)?,
            Err(error @ DriverError::NoDevice { .. }) => {
                cores_allowed(&refused("cuda", &error), |name| std::env::var(name).ok())?;
                cores()?
            }
            // There is one, and something about it has to be put right.
            Err(error) => return Err(refused("cuda", &error)),
        },
    };
    let queue = Queue::new(backend);
    let eager = std::env::var(EAGER).is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
    Ok(if eager { queue.eager() } else { queue })
}

fn gpu(driver: CudaDriver, kernels: &[(&str, &str)]) -> Result<Box<dyn Backend>, OpenError> {
    on_driver("cuda", Box::new(driver), kernels)
}

fn on_driver(
    device: &'static str,
    driver: Box<dyn Driver>,
    kernels: &[(&str, &str)],
) -> Result<Box<dyn Backend>, OpenError> {
    let mut backend = CudaBackend::new(device, driver).map_err(|error| refused(device, &error))?;
    for (op, entry) in kernels {
        backend.fix(op, entry).map_err(|error| refused(device, &error))?;
    }
    Ok(Box::new(backend))
}

fn refused(device: &'static str, error: &dyn std::error::Error) -> OpenError {
    OpenError::Device { device, reason: error.to_string() }
}

/// Fails where the environment says that a GPU is meant, although there is none to be had because of `error`.
fn cores_allowed(error: &OpenError, variable: impl Fn(&str) -> Option<String>) -> Result<(), OpenError> {
    let set = GPU_VARIABLES
        .iter()
        .find(|(name, nothing)| variable(name).is_some_and(|value| !nothing.contains(&value.trim())));
    match (set, error) {
        (None, _) => Ok(()),
        (Some((variable, _)), OpenError::Device { reason, .. }) => {
            Err(OpenError::GpuMeant { variable, reason: reason.clone() })
        }
        (Some((variable, _)), error) => Err(OpenError::GpuMeant { variable, reason: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_refuses_the_cpu_where_a_gpu_was_meant() {
        let none = OpenError::Device { device: "cuda", reason: "no driver".into() };
        let with = |name: &'static str, value: &'static str| {
            cores_allowed(&none, move |n| (n == name).then(|| value.to_owned()))
        };
        assert_eq!(
            with("CUDA_VISIBLE_DEVICES", "0"),
            Err(OpenError::GpuMeant { variable: "CUDA_VISIBLE_DEVICES", reason: "no driver".into() })
        );
        assert!(with("SLURM_GPUS_ON_NODE", "8").is_err());
        assert_eq!(with("SLURM_GPUS_ON_NODE", "0"), Ok(()));
        assert_eq!(with("CUDA_VISIBLE_DEVICES", ""), Ok(()));
        assert_eq!(with("CUDA_VISIBLE_DEVICES", "-1"), Ok(()));
        assert_eq!(with("HOME", "/"), Ok(()));
    }
}
