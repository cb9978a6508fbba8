//! Is there a GPU, and what is it? The one place where CUDA's driver library is looked for.

use super::call::{call, fixed};
use crate::driver::{DeviceFacts, DriverError};
use cudarc::driver::sys::{
    self, CUcontext, CUdevice, CUdevice_attribute as Attribute, CUresult, cuCtxSetCurrent, cuDeviceGet,
    cuDeviceGetAttribute, cuDeviceGetCount, cuDeviceGetName, cuDevicePrimaryCtxRetain, cuDriverGetVersion,
    cuInit,
};

/// The oldest driver that takes our PTX (CUDA 12.4, PTX ISA 8.4), as `cuDriverGetVersion` says it.
const OLDEST_DRIVER: i32 = 12_040;

/// A device whose primary context is retained and current on this thread.
pub(super) struct Opened {
    pub device: CUdevice,
    pub facts: DeviceFacts,
    /// The newest CUDA that the driver is for: 12 for 12.4.
    pub cuda: u32,
}

/// Opens a device by its ordinal.
pub(super) fn open(ordinal: u32) -> Result<Opened, DriverError> {
    let none = |why: String| DriverError::NoDevice { why };
    // SAFETY: only looks whether the library can be loaded. Every other call of cudarc panics where it cannot.
    if !unsafe { sys::is_culib_present() } {
        let what = "CUDA's driver library (libcuda.so.1) is not on this machine";
        return Err(none(format!(
            "{what}; install NVIDIA's driver, or see that a container is given its GPUs"
        )));
    }
    // SAFETY: the first call, as the library wants it.
    match unsafe { cuInit(0) } {
        CUresult::CUDA_SUCCESS => {}
        CUresult::CUDA_ERROR_STUB_LIBRARY => {
            return Err(none(
                "the libcuda that was found is a toolkit's stub; take its folder out of LD_LIBRARY_PATH"
                    .into(),
            ));
        }
        code => return Err(none(format!("the driver does not start ({code:?})"))),
    }
    let mut version = 0;
    // SAFETY: a valid place for the answer.
    call("cuDriverGetVersion", unsafe { cuDriverGetVersion(&mut version) })?;
    if version < OLDEST_DRIVER {
        let (major, minor) = (version / 1000, version % 1000 / 10);
        return Err(none(format!("the driver is for CUDA {major}.{minor}; 12.4 or newer (R550) is needed")));
    }
    let mut count = 0;
    // SAFETY: a valid place for the answer.
    call("cuDeviceGetCount", unsafe { cuDeviceGetCount(&mut count) })?;
    if ordinal as i32 >= count {
        return Err(none(format!("there is no GPU {ordinal}: the driver shows {count}")));
    }
    let mut device: CUdevice = 0;
    // SAFETY: the ordinal is below the count.
    call("cuDeviceGet", unsafe { cuDeviceGet(&mut device, ordinal as i32) })?;
    let facts = facts(device)?;
    if facts.capability < (8, 0) {
        let (major, minor) = facts.capability;
        return Err(none(format!(
            "{} has compute capability {major}.{minor}; 8.0 (Ampere) is needed",
            facts.name
        )));
    }
    let mut context: CUcontext = std::ptr::null_mut();
    // SAFETY: the device is one the driver gave out; the context stays retained until the driver is dropped.
    call("cuDevicePrimaryCtxRetain", unsafe { cuDevicePrimaryCtxRetain(&mut context, device) })?;
    // SAFETY: the context was just retained.
    call("cuCtxSetCurrent", unsafe { cuCtxSetCurrent(context) })?;
    Ok(Opened { device, facts, cuda: version as u32 / 1000 })
}

fn facts(device: CUdevice) -> Result<DeviceFacts, DriverError> {
    let mut name = [0u8; 128];
    // SAFETY: the buffer has the length that is said.
    call("cuDeviceGetName", unsafe { cuDeviceGetName(name.as_mut_ptr().cast(), name.len() as i32, device) })?;
    let attribute = |attribute| {
        let mut value = 0;
        // SAFETY: a valid place for the answer, a device that the driver gave out.
        call("cuDeviceGetAttribute", unsafe { cuDeviceGetAttribute(&mut value, attribute, device) })?;
        Ok::<u32, DriverError>(value as u32)
    };
    Ok(DeviceFacts {
        name: fixed(&name),
        capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        shared_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
    })
}
