//! The functions of cuBLASLt that the engine calls: the same file under the library's name is found as `libcublasLt.so.12`.
//!
//! Layouts, transposes, strides, factors and the workspace are taken as cuBLAS's documentation defines them ("Using the
//! cuBLASLt API"), and what does not fit together is refused with its status. The product itself runs on the engine's own
//! kernels: the column-by-column product of the caller is one of their row-by-row ones. An algorithm belongs to the shape it
//! was asked for, and its workspace is written, so that a race over that is found.

use crate::launch::{find, load};
use crate::{CONTEXT, Context, handle, index};
use octo_kernels::driver::{Driver, DriverError, Function, SimDriver, Stream};
use octo_kernels::tuning::{Capability, Tuning};
use octo_kernels::{Addresses, Launch, gemm};
use octo_ops::{BufferId, DType, LinearBackwardInput, LinearBackwardWeight, LinearResidual, View};
use std::collections::BTreeMap;
use std::ffi::{c_float, c_int, c_void};

type Handle = *mut c_void;
type Status = c_int;

const SUCCESS: Status = 0;
const INVALID_VALUE: Status = 7;
const EXECUTION_FAILED: Status = 13;
const NOT_SUPPORTED: Status = 15;

/// Bytes of workspace that every algorithm wants.
const WORKSPACE: u64 = 4096;

/// What descriptors say. They are never forgotten: a process makes few.
#[derive(Default)]
pub(crate) struct Descriptors {
    operations: Vec<[bool; 2]>,
    layouts: Vec<Layout>,
    preferences: u32,
    kernels: BTreeMap<String, Function>,
}

#[derive(Clone, Copy, PartialEq)]
struct Layout {
    dtype: DType,
    rows: u64,
    columns: u64,
    stride: u64,
}

impl Layout {
    /// The same elements as rows of ours.
    fn view(&self, operand: u32) -> View {
        View::new(BufferId(operand), 0, self.dtype, &[self.columns as u32, self.rows as u32])
            .with_row_stride(self.stride as u32)
    }
}

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
pub struct Heuristic {
    algorithm: [u64; 8],
    workspace: usize,
    state: Status,
    waves: c_float,
    reserved: [c_int; 4],
}

/// Addresses of a, b, c and d.
struct Operands([u64; 4]);

impl Addresses for Operands {
    fn address(&self, view: &View) -> u64 {
        self.0[view.buffer.0 as usize]
    }

    fn workspace(&self) -> u64 {
        0
    }
}

/// The status that `OCTO_LIBCUDA_CUBLASLT=CALL:STATUS` plants for a call.
fn planted(call: &str) -> Option<Status> {
    let text = std::env::var("OCTO_LIBCUDA_CUBLASLT").ok()?;
    let (name, status) = text.split_once(':')?;
    (name == call).then(|| status.parse().ok())?
}

/// Runs a call in the current context.
fn within(call: &str, f: impl FnOnce(&mut Context, &mut SimDriver) -> Result<(), Status>) -> Status {
    if let Some(status) = planted(call) {
        return status;
    }
    CONTEXT.with_borrow_mut(|context| {
        // CUBLAS_STATUS_NOT_INITIALIZED.
        let Some(mut driver) = context.driver.take() else { return 1 };
        let outcome = f(context, &mut driver);
        context.driver = Some(driver);
        outcome.err().unwrap_or(SUCCESS)
    })
}

fn failed(_: DriverError) -> Status {
    EXECUTION_FAILED
}

/// A descriptor that was made, by its handle.
fn made<T: Copy>(list: &[T], at: Handle) -> Result<T, Status> {
    list.get(index(at) as usize).copied().ok_or(INVALID_VALUE)
}

/// The launches of a product whose descriptors fit together; none of our kernels does the others.
fn launches(
    transposed: [bool; 2],
    [a, b, c, d]: [Layout; 4],
    at: &Operands,
    adds: bool,
) -> Result<Vec<Launch>, Status> {
    let turned = |layout: Layout, turn| match turn {
        true => (layout.columns, layout.rows),
        false => (layout.rows, layout.columns),
    };
    let ((m, terms), (others, n)) = (turned(a, transposed[0]), turned(b, transposed[1]));
    let tall = |layout: &Layout| layout.stride >= layout.rows;
    if terms != others
        || (d.rows, d.columns) != (m, n)
        || (c.rows, c.columns, c.dtype) != (m, n, d.dtype)
        || ![a, b, c, d].iter().all(tall)
    {
        return Err(INVALID_VALUE);
    }
    let in_place = c == d && at.0[2] == at.0[3];
    let tuning = Tuning::new(Capability::A100);
    let [left, right, added, out] = [a.view(0), b.view(1), c.view(2), d.view(3)];
    let found = match (transposed, d.dtype, adds) {
        ([true, false], DType::Bf16, true) => gemm::linear_residual(
            &LinearResidual { x: right, weight: left, residual: added, out },
            at,
            &tuning,
        ),
        ([false, false], DType::Bf16, false) => gemm::linear_backward_input(
            &LinearBackwardInput { dy: right, weight: left, dx: out },
            at,
            &tuning,
        ),
        ([false, true], DType::F32, accumulate) if !accumulate || in_place => {
            let op = LinearBackwardWeight { dy: right, x: left, dweight: out, accumulate };
            gemm::linear_backward_weight(&op, at, &tuning)
        }
        _ => return Err(NOT_SUPPORTED),
    };
    found.map_err(|_| NOT_SUPPORTED)
}

/// What an algorithm is of: the product's shape.
fn algorithm(transposed: [bool; 2], [a, _, _, d]: [Layout; 4]) -> [u64; 8] {
    let kind = 1 + u64::from(transposed[0]) + 2 * u64::from(transposed[1]);
    [kind, a.rows, a.columns, a.stride, d.rows, d.columns, d.stride, 0]
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasLtCreate(place: *mut Handle) -> Status {
    within("cublasLtCreate", |_, _| {
        // SAFETY: a place for the answer.
        unsafe { *place = handle(0) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasLtDestroy(_: Handle) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasLtGetVersion() -> usize {
    120_405
}

/// Sums in f32 (68, `CUBLAS_COMPUTE_32F`), factors in f32 (0, `CUDA_R_32F`).
#[unsafe(no_mangle)]
unsafe extern "C" fn cublasLtMatmulDescCreate(place: *mut Handle, compute: c_int, scale: c_int) -> Status {
    within("cublasLtMatmulDescCreate", |context, _| {
        if (compute, scale) != (68, 0) {
            return Err(NOT_SUPPORTED);
        }
        context.blas.operations.push([false; 2]);
        // SAFETY: a place for the answer.
        unsafe { *place = handle(context.blas.operations.len() as u32 - 1) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasLtMatmulDescDestroy(_: Handle) -> Status {
    SUCCESS
}

/// `CUBLASLT_MATMUL_DESC_TRANSA` (3) and `TRANSB` (4), each `CUBLAS_OP_N` (0) or `T` (1).
#[unsafe(no_mangle)]
unsafe extern "C" fn cublasLtMatmulDescSetAttribute(
    at: Handle,
    attribute: c_int,
    value: *const c_void,
    bytes: usize,
) -> Status {
    within("cublasLtMatmulDescSetAttribute", |context, _| {
        let operation = context.blas.operations.get_mut(index(at) as usize).ok_or(INVALID_VALUE)?;
        if bytes != size_of::<c_int>() || !matches!(attribute, 3 | 4) {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the caller passes that many bytes.
        let turn = unsafe { value.cast::<c_int>().read_unaligned() };
        if !matches!(turn, 0 | 1) {
            return Err(INVALID_VALUE);
        }
        operation[attribute as usize - 3] = turn == 1;
        Ok(())
    })
}

/// Elements are f32 (0, `CUDA_R_32F`) or bf16 (14, `CUDA_R_16BF`).
#[unsafe(no_mangle)]
unsafe extern "C" fn cublasLtMatrixLayoutCreate(
    place: *mut Handle,
    kind: c_int,
    rows: u64,
    columns: u64,
    stride: i64,
) -> Status {
    within("cublasLtMatrixLayoutCreate", |context, _| {
        let dtype = match kind {
            0 => DType::F32,
            14 => DType::Bf16,
            _ => return Err(NOT_SUPPORTED),
        };
        let stride = u64::try_from(stride).map_err(|_| INVALID_VALUE)?;
        context.blas.layouts.push(Layout { dtype, rows, columns, stride });
        // SAFETY: a place for the answer.
        unsafe { *place = handle(context.blas.layouts.len() as u32 - 1) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasLtMatrixLayoutDestroy(_: Handle) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasLtMatmulPreferenceCreate(place: *mut Handle) -> Status {
    within("cublasLtMatmulPreferenceCreate", |context, _| {
        context.blas.preferences += 1;
        // SAFETY: a place for the answer.
        unsafe { *place = handle(context.blas.preferences - 1) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasLtMatmulPreferenceDestroy(_: Handle) -> Status {
    SUCCESS
}

/// Most bytes of workspace (1) is a `size_t`; reduction schemes (3) and alignments (5 to 8) are `uint32_t`.
#[unsafe(no_mangle)]
unsafe extern "C" fn cublasLtMatmulPreferenceSetAttribute(
    _: Handle,
    attribute: c_int,
    value: *const c_void,
    bytes: usize,
) -> Status {
    within("cublasLtMatmulPreferenceSetAttribute", |_, _| match (attribute, bytes) {
        (1, 8) => {
            // SAFETY: the caller passes that many bytes.
            let most = unsafe { value.cast::<u64>().read_unaligned() };
            if most < WORKSPACE { Err(NOT_SUPPORTED) } else { Ok(()) }
        }
        (3 | 5..=8, 4) => Ok(()),
        _ => Err(INVALID_VALUE),
    })
}

/// `OCTO_LIBCUDA_CUBLASLT=none` leaves every shape without an algorithm.
#[unsafe(no_mangle)]
unsafe extern "C" fn cublasLtMatmulAlgoGetHeuristic(
    _: Handle,
    operation: Handle,
    a: Handle,
    b: Handle,
    c: Handle,
    d: Handle,
    _: Handle,
    asked: c_int,
    results: *mut Heuristic,
    found: *mut c_int,
) -> Status {
    within("cublasLtMatmulAlgoGetHeuristic", |context, driver| {
        let none = std::env::var("OCTO_LIBCUDA_CUBLASLT").is_ok_and(|value| value == "none");
        if none || asked < 1 {
            // SAFETY: a place for the answer.
            unsafe { *found = 0 };
            return if none { Ok(()) } else { Err(INVALID_VALUE) };
        }
        let transposed = made(&context.blas.operations, operation)?;
        let layouts = [
            made(&context.blas.layouts, a)?,
            made(&context.blas.layouts, b)?,
            made(&context.blas.layouts, c)?,
            made(&context.blas.layouts, d)?,
        ];
        // The kernel is loaded now: the product may be asked for in a capture. Which one it is hangs on the shape alone,
        // not on whether the result is added to; a product to bf16 has only one of both.
        let nowhere = Operands([0; 4]);
        let launches = launches(transposed, layouts, &nowhere, false)
            .or_else(|_| launches(transposed, layouts, &nowhere, true))?;
        for launch in &launches {
            let shipped = octo_ptx::shipped::SM_80.iter().find(|shipped| shipped.name == launch.entry);
            let shipped = shipped.ok_or(NOT_SUPPORTED)?;
            if !context.blas.kernels.contains_key(&launch.entry) {
                let module = load(context, driver, shipped.text).map_err(failed)?;
                let function = find(context, driver, module, &launch.entry).map_err(failed)?;
                driver.allow_shared(function, launch.shared_bytes).map_err(failed)?;
                context.blas.kernels.insert(launch.entry.clone(), function);
            }
        }
        let best = Heuristic {
            algorithm: algorithm(transposed, layouts),
            workspace: WORKSPACE as usize,
            state: SUCCESS,
            waves: 1.0,
            reserved: [0; 4],
        };
        // SAFETY: places for one result and its number.
        unsafe {
            results.write(best);
            *found = 1;
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasLtMatmul(
    _: Handle,
    operation: Handle,
    alpha: *const c_void,
    a: *const c_void,
    a_layout: Handle,
    b: *const c_void,
    b_layout: Handle,
    beta: *const c_void,
    c: *const c_void,
    c_layout: Handle,
    d: *mut c_void,
    d_layout: Handle,
    chosen: *const u64,
    workspace: *mut c_void,
    workspace_bytes: usize,
    stream: *mut c_void,
) -> Status {
    within("cublasLtMatmul", |context, driver| {
        let transposed = made(&context.blas.operations, operation)?;
        let layouts = [
            made(&context.blas.layouts, a_layout)?,
            made(&context.blas.layouts, b_layout)?,
            made(&context.blas.layouts, c_layout)?,
            made(&context.blas.layouts, d_layout)?,
        ];
        // SAFETY: the caller passes two numbers and an algorithm.
        let (alpha, beta, chosen) =
            unsafe { (*alpha.cast::<f32>(), *beta.cast::<f32>(), *chosen.cast::<[u64; 8]>()) };
        let fits = (workspace as u64).is_multiple_of(256) && workspace_bytes as u64 >= WORKSPACE;
        if chosen != algorithm(transposed, layouts) || !fits {
            return Err(INVALID_VALUE);
        }
        if alpha != 1.0 || (beta != 0.0 && beta != 1.0) {
            return Err(NOT_SUPPORTED);
        }
        let at = Operands([a as u64, b as u64, c as u64, d as u64]);
        let stream = Stream(index(stream));
        driver.fill(stream, workspace as u64, 0xff, WORKSPACE).map_err(failed)?;
        for launch in launches(transposed, layouts, &at, beta == 1.0)? {
            let function = context.blas.kernels.get(&launch.entry).ok_or(NOT_SUPPORTED)?;
            driver.launch(stream, *function, &launch).map_err(failed)?;
        }
        Ok(())
    })
}
