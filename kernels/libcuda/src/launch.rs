//! Modules, functions and launches.

use crate::{handle, index, within};
use cudarc::driver::sys::{
    CUfunction, CUfunction_attribute as Attribute, CUjit_option, CUlaunchAttributeID_enum, CUlaunchConfig,
    CUmodule, CUresult,
};
use octo_kernels::Launch;
use octo_kernels::driver::{Driver, DriverError, Function, Module, Stream};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

/// PTX ISA and the driver API's "Module Management".
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadDataEx(
    module: *mut CUmodule,
    image: *const c_void,
    options: c_uint,
    names: *mut CUjit_option,
    values: *mut *mut c_void,
) -> CUresult {
    // SAFETY: the caller passes text that ends in a zero.
    let text = unsafe { CStr::from_ptr(image.cast()) }.to_string_lossy().into_owned();
    let mut log = None;
    for option in 0..options as usize {
        // SAFETY: the caller passes as many options and values as it says.
        let (name, value) = unsafe { (*names.add(option), *values.add(option)) };
        match name {
            CUjit_option::CU_JIT_ERROR_LOG_BUFFER => log = Some((value.cast::<u8>(), 0)),
            CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES => {
                log = log.map(|(buffer, _)| (buffer, value as usize));
            }
            _ => return CUresult::CUDA_ERROR_INVALID_VALUE,
        }
    }
    let code = within(|context, driver| {
        let loaded = driver.load("a module", &text)?;
        let kernels = octo_ptx::parse(&text).map(|module| module.kernels).unwrap_or_default();
        let bytes = |params: &[octo_ptx::Param]| params.iter().map(|p| p.offset + p.bytes).max().unwrap_or(0);
        context.parameters.push(kernels.into_iter().map(|k| (k.name, bytes(&k.params))).collect());
        // SAFETY: a place for the answer.
        unsafe { *module = handle(loaded.0) };
        Ok(())
    });
    if let (true, Some((buffer, room))) = (code == CUresult::CUDA_ERROR_INVALID_PTX, log) {
        crate::CONTEXT.with_borrow(|context| {
            let words = context.words.as_bytes_with_nul();
            if words.len() <= room {
                // SAFETY: the caller's buffer has that much room.
                unsafe { std::ptr::copy_nonoverlapping(words.as_ptr(), buffer, words.len()) };
            }
        });
    }
    code
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleUnload(_: CUmodule) -> CUresult {
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(
    function: *mut CUfunction,
    module: CUmodule,
    name: *const c_char,
) -> CUresult {
    // SAFETY: the caller passes a name that ends in a zero.
    let entry = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    within(|context, driver| {
        let found = driver.function(Module(index(module)), &entry)?;
        let entries = context.parameters.get(index(module) as usize).into_iter().flatten();
        let bytes = entries.clone().find(|(name, _)| *name == entry).map_or(0, |(_, bytes)| *bytes);
        context.functions.push((entry, bytes));
        // SAFETY: a place for the answer.
        unsafe { *function = handle(found.0) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuFuncGetAttribute(
    value: *mut c_int,
    attribute: Attribute,
    function: CUfunction,
) -> CUresult {
    within(|_, driver| {
        let all = driver.attributes(Function(index(function)))?;
        let found = match attribute {
            Attribute::CU_FUNC_ATTRIBUTE_NUM_REGS => u64::from(all.registers.unwrap_or(0)),
            Attribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES => all.local_bytes,
            Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES => all.shared_bytes,
            Attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK => all.max_threads.into(),
            other => return Err(refused("cuFuncGetAttribute", format!("{other:?}"))),
        };
        // SAFETY: a place for the answer.
        unsafe { *value = found as c_int };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuFuncSetAttribute(
    function: CUfunction,
    attribute: Attribute,
    value: c_int,
) -> CUresult {
    within(|_, driver| match attribute {
        Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES => {
            driver.allow_shared(Function(index(function)), value as u32)
        }
        other => Err(refused("cuFuncSetAttribute", format!("{other:?}"))),
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernelEx(
    config: *const CUlaunchConfig,
    function: CUfunction,
    parameters: *mut *mut c_void,
    _: *mut *mut c_void,
) -> CUresult {
    within(|context, driver| {
        let number = index(function);
        let Some((entry, bytes)) = context.functions.get(number as usize) else {
            return Err(refused("cuLaunchKernelEx", "no such function".into()));
        };
        // SAFETY: the caller passes a launch, and for the one parameter of every kernel a pointer to all its bytes.
        let (config, arguments) = unsafe {
            (&*config, std::slice::from_raw_parts((*parameters).cast::<u8>(), *bytes as usize).to_vec())
        };
        let mut cooperative = false;
        for attribute in 0..config.numAttrs as usize {
            // SAFETY: the caller passes as many attributes as it says.
            let attribute = unsafe { &*config.attrs.add(attribute) };
            if attribute.id != CUlaunchAttributeID_enum::CU_LAUNCH_ATTRIBUTE_COOPERATIVE {
                return Err(refused("cuLaunchKernelEx", format!("{:?}", attribute.id)));
            }
            // SAFETY: the member that the id stands for.
            cooperative = unsafe { attribute.value.cooperative } != 0;
        }
        let launch = Launch {
            entry: entry.clone(),
            grid: [config.gridDimX, config.gridDimY, config.gridDimZ],
            block: [config.blockDimX, config.blockDimY, config.blockDimZ],
            shared_bytes: config.sharedMemBytes,
            cooperative,
            arguments,
        };
        driver.launch(Stream(index(config.hStream)), Function(number), &launch)
    })
}

fn refused(call: &'static str, what: String) -> DriverError {
    DriverError::InvalidValue { call, what }
}
