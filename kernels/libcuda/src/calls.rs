//! Device, memory, streams, events and graphs.

use crate::{CONTEXT, HostBlock, handle, index, new_driver, setting, staged, within};
use cudarc::driver::sys::{
    CUcontext, CUdevice, CUdevice_attribute as Attribute, CUdeviceptr, CUevent, CUgraph, CUgraphExec,
    CUresult, CUstream, CUstreamCaptureMode,
};
use octo_kernels::driver::{Driver, Event, Graph, GraphExec, Stream};
use std::ffi::{c_char, c_int, c_uchar, c_uint, c_ulonglong, c_void};
use std::slice::{from_raw_parts, from_raw_parts_mut};

/// Hands an answer to the caller.
///
/// # Safety
/// The caller of the library has passed a place for it.
unsafe fn answer<T>(place: *mut T, value: T) -> CUresult {
    // SAFETY: as the function's own.
    unsafe { place.write(value) };
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuInit(_: c_uint) -> CUresult {
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> CUresult {
    // SAFETY: a place for the answer.
    unsafe { answer(version, setting("OCTO_LIBCUDA_VERSION", 12_040) as c_int) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> CUresult {
    // SAFETY: a place for the answer.
    unsafe { answer(count, setting("OCTO_LIBCUDA_DEVICES", 1) as c_int) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut CUdevice, ordinal: c_int) -> CUresult {
    // SAFETY: a place for the answer.
    unsafe { answer(device, ordinal) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, room: c_int, _: CUdevice) -> CUresult {
    let text = new_driver().device().name.clone();
    let bytes = text.bytes().take(room as usize - 1).chain([0]);
    for (i, byte) in bytes.enumerate() {
        // SAFETY: at most as many bytes as the caller has room for.
        unsafe { name.add(i).write(byte as c_char) };
    }
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, which: Attribute, _: CUdevice) -> CUresult {
    let driver = new_driver();
    let facts = driver.device();
    let found = match which {
        Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR => facts.capability.0,
        Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR => facts.capability.1,
        Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT => facts.multiprocessors,
        Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN => facts.shared_bytes,
        _ => return CUresult::CUDA_ERROR_INVALID_VALUE,
    };
    // SAFETY: a place for the answer.
    unsafe { answer(value, found as c_int) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut CUcontext, _: CUdevice) -> CUresult {
    CONTEXT.with_borrow_mut(|context| {
        context.retained += 1;
        context.driver.get_or_insert_with(new_driver);
    });
    // SAFETY: a place for the answer.
    unsafe { answer(context, handle(0)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRelease_v2(_: CUdevice) -> CUresult {
    CONTEXT.with_borrow_mut(|context| match context.retained {
        0 => CUresult::CUDA_ERROR_INVALID_CONTEXT,
        1 => {
            *context = Default::default();
            CUresult::CUDA_SUCCESS
        }
        _ => {
            context.retained -= 1;
            CUresult::CUDA_SUCCESS
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxSetCurrent(_: CUcontext) -> CUresult {
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxSynchronize() -> CUresult {
    within(|_, driver| driver.synchronize())
}

/// The words of the last failure, whatever the code: the simulated driver says more than a code can.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(_: CUresult, text: *mut *const c_char) -> CUresult {
    let words = CONTEXT.with_borrow(|context| context.words.as_ptr());
    // SAFETY: a place for the answer; the words stay until the next failure.
    unsafe { answer(text, words) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> CUresult {
    within(|_, driver| {
        let info = driver.memory()?;
        // SAFETY: places for the answers.
        unsafe {
            answer(free, info.free as usize);
            answer(total, info.total as usize);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(address: *mut CUdeviceptr, bytes: usize) -> CUresult {
    within(|_, driver| {
        let found = driver.allocate("device memory", bytes as u64)?;
        // SAFETY: a place for the answer.
        unsafe { answer(address, found) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemFree_v2(address: CUdeviceptr) -> CUresult {
    within(|_, driver| driver.free(address))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostAlloc(start: *mut *mut c_void, bytes: usize, _: c_uint) -> CUresult {
    within(|context, _| {
        let mut block = HostBlock { bytes: vec![0; bytes].into_boxed_slice() };
        // SAFETY: a place for the answer; the block's bytes stay where they are until they are freed.
        unsafe { answer(start, block.bytes.as_mut_ptr().cast()) };
        context.host.push(block);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemFreeHost(start: *mut c_void) -> CUresult {
    within(|context, _| {
        context.host.retain(|block| block.bytes.as_ptr() != start.cast_const().cast());
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoD_v2(to: CUdeviceptr, from: *const c_void, bytes: usize) -> CUresult {
    // SAFETY: the caller passes that many bytes.
    let from = unsafe { from_raw_parts(from.cast::<u8>(), bytes) };
    within(|_, driver| driver.write(to, from))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoH_v2(to: *mut c_void, from: CUdeviceptr, bytes: usize) -> CUresult {
    // SAFETY: the caller passes room for that many bytes.
    let into = unsafe { from_raw_parts_mut(to.cast::<u8>(), bytes) };
    within(|_, driver| driver.read(from, into))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(
    to: CUdeviceptr,
    from: *const c_void,
    bytes: usize,
    stream: CUstream,
) -> CUresult {
    // SAFETY: the caller passes that many bytes.
    let from = unsafe { from_raw_parts(from.cast::<u8>(), bytes) };
    within(|_, driver| {
        let pinned = staged(driver, from)?;
        driver.copy_in(Stream(index(stream)), to, pinned, 0, bytes as u64)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(
    to: *mut c_void,
    from: CUdeviceptr,
    bytes: usize,
    stream: CUstream,
) -> CUresult {
    // SAFETY: the caller passes room for that many bytes.
    let into = unsafe { from_raw_parts_mut(to.cast::<u8>(), bytes) };
    within(|_, driver| {
        let (stream, pinned) =
            (Stream(index(stream)), driver.allocate_host("bytes of a copy", bytes as u64)?);
        driver.copy_out(stream, pinned, 0, from, bytes as u64)?;
        driver.synchronize_stream(stream)?;
        driver.read_host(pinned, 0, into)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoDAsync_v2(
    to: CUdeviceptr,
    from: CUdeviceptr,
    bytes: usize,
    stream: CUstream,
) -> CUresult {
    within(|_, driver| driver.copy(Stream(index(stream)), to, from, bytes as u64))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemsetD8Async(
    to: CUdeviceptr,
    byte: c_uchar,
    bytes: usize,
    stream: CUstream,
) -> CUresult {
    within(|_, driver| driver.fill(Stream(index(stream)), to, byte, bytes as u64))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreate(stream: *mut CUstream, _: c_uint) -> CUresult {
    within(|_, driver| {
        let made = driver.create_stream("a stream")?;
        // SAFETY: a place for the answer.
        unsafe { answer(stream, handle(made.0)) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamDestroy_v2(_: CUstream) -> CUresult {
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamSynchronize(stream: CUstream) -> CUresult {
    within(|_, driver| driver.synchronize_stream(Stream(index(stream))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamWaitEvent(stream: CUstream, event: CUevent, _: c_uint) -> CUresult {
    within(|_, driver| driver.wait(Stream(index(stream)), Event(index(event))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventCreate(event: *mut CUevent, _: c_uint) -> CUresult {
    within(|_, driver| {
        let made = driver.create_event()?;
        // SAFETY: a place for the answer.
        unsafe { answer(event, handle(made.0)) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventDestroy_v2(_: CUevent) -> CUresult {
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventRecord(event: CUevent, stream: CUstream) -> CUresult {
    within(|_, driver| driver.record(Event(index(event)), Stream(index(stream))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventQuery(event: CUevent) -> CUresult {
    let mut done = false;
    let code = within(|_, driver| {
        done = driver.query(Event(index(event)))?;
        Ok(())
    });
    if code == CUresult::CUDA_SUCCESS && !done { CUresult::CUDA_ERROR_NOT_READY } else { code }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventSynchronize(event: CUevent) -> CUresult {
    within(|_, driver| driver.synchronize_event(Event(index(event))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamBeginCapture_v2(stream: CUstream, _: CUstreamCaptureMode) -> CUresult {
    within(|_, driver| driver.begin_capture(Stream(index(stream))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamEndCapture(stream: CUstream, graph: *mut CUgraph) -> CUresult {
    within(|_, driver| {
        let made = driver.end_capture(Stream(index(stream)))?;
        // SAFETY: a place for the answer.
        unsafe { answer(graph, handle(made.0)) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphInstantiateWithFlags(
    exec: *mut CUgraphExec,
    graph: CUgraph,
    _: c_ulonglong,
) -> CUresult {
    within(|_, driver| {
        let made = driver.instantiate(Graph(index(graph)))?;
        // SAFETY: a place for the answer.
        unsafe { answer(exec, handle(made.0)) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphLaunch(exec: CUgraphExec, stream: CUstream) -> CUresult {
    within(|_, driver| driver.launch_graph(GraphExec(index(exec)), Stream(index(stream))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphDestroy(_: CUgraph) -> CUresult {
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphExecDestroy(_: CUgraphExec) -> CUresult {
    CUresult::CUDA_SUCCESS
}
