//! Modules, functions and launches.

use crate::{Context, handle, index, setting, within};
use cudarc::driver::sys::{
    CUfunction, CUfunction_attribute as Attribute, CUjit_option, CUlaunchAttributeID_enum, CUlaunchConfig,
    CUmodule, CUresult,
};
use octo_kernels::Launch;
use octo_kernels::driver::{Driver, DriverError, Function, Module, SimDriver, Stream};
use octo_ptx::resources;
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
    let (mut errors, mut told) = (Log::default(), Log::default());
    for option in 0..options as usize {
        // SAFETY: the caller passes as many options and values as it says.
        let (name, value) = unsafe { (*names.add(option), *values.add(option)) };
        match name {
            CUjit_option::CU_JIT_ERROR_LOG_BUFFER => errors.buffer = value.cast(),
            CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES => errors.room = value as usize,
            CUjit_option::CU_JIT_INFO_LOG_BUFFER => told.buffer = value.cast(),
            CUjit_option::CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES => told.room = value as usize,
            CUjit_option::CU_JIT_LOG_VERBOSE => {}
            _ => return CUresult::CUDA_ERROR_INVALID_VALUE,
        }
    }
    let mut kernels = 0;
    let code = within(|context, driver| {
        let loaded = load(context, driver, &text)?;
        kernels = context.parameters.last().map_or(0, Vec::len);
        // SAFETY: a place for the answer.
        unsafe { *module = handle(loaded.0) };
        Ok(())
    });
    // SAFETY: the caller's buffers have the room that it says.
    unsafe {
        match code {
            CUresult::CUDA_SUCCESS => {
                told.write(format!("info: {kernels} kernels for the simulated GPU\0").as_bytes())
            }
            _ => crate::CONTEXT.with_borrow(|context| errors.write(context.words.as_bytes_with_nul())),
        }
    }
    code
}

/// A buffer of the caller's for words.
struct Log {
    buffer: *mut u8,
    room: usize,
}

impl Default for Log {
    fn default() -> Log {
        Log { buffer: std::ptr::null_mut(), room: 0 }
    }
}

impl Log {
    /// Writes words that end in a zero, if there is room.
    ///
    /// # Safety
    /// The buffer has that much room.
    unsafe fn write(&self, words: &[u8]) {
        if words.len() <= self.room {
            // SAFETY: as the function's own.
            unsafe { std::ptr::copy_nonoverlapping(words.as_ptr(), self.buffer, words.len()) };
        }
    }
}

/// Loads a module and notes how many bytes of parameters each entry takes.
pub(crate) fn load(context: &mut Context, driver: &mut SimDriver, text: &str) -> Result<Module, DriverError> {
    let loaded = driver.load("a module", text)?;
    let kernels = octo_ptx::parse(text).map(|module| module.kernels).unwrap_or_default();
    let bytes = |params: &[octo_ptx::Param]| params.iter().map(|p| p.offset + p.bytes).max().unwrap_or(0);
    context.parameters.push(kernels.into_iter().map(|k| (k.name, bytes(&k.params))).collect());
    Ok(loaded)
}

/// The entry of a module, noted with its bytes of parameters.
pub(crate) fn find(
    context: &mut Context,
    driver: &mut SimDriver,
    module: Module,
    entry: &str,
) -> Result<Function, DriverError> {
    let found = driver.function(module, entry)?;
    let entries = context.parameters.get(module.0 as usize).into_iter().flatten();
    let bytes = entries.clone().find(|(name, _)| name == entry).map_or(0, |(_, bytes)| *bytes);
    context.functions.push((entry.to_owned(), bytes));
    Ok(found)
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
        let found = find(context, driver, Module(index(module)), &entry)?;
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
    within(|context, driver| {
        let all = driver.attributes(Function(index(function)))?;
        // No assembler has seen the kernel here: what the pinned one gave stands for it.
        let entry = context.functions.get(index(function) as usize).map_or("", |(entry, _)| entry);
        let assembled = resources(entry);
        let registers = assembled.map_or(0, |taken| taken.registers.into());
        let found = match attribute {
            Attribute::CU_FUNC_ATTRIBUTE_NUM_REGS => setting("OCTO_LIBCUDA_REGISTERS", registers),
            Attribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES => {
                assembled.map_or(all.local_bytes, |taken| taken.stack.into())
            }
            Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES => {
                assembled.map_or(all.shared_bytes, |taken| taken.static_shared.into())
            }
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
