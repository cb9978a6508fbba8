//! NVIDIA's library of matrix products: `cublasLt` by hand, as far as the engine calls it.
//!
//! Names, numbers and layouts are those of `cublasLt.h` (cuBLAS documentation, "Using the cuBLASLt API"). The algorithm
//! of a shape is asked for once and kept, so that a shape has one order of additions for the whole run; among several, those
//! that add up parts in the result's own type are left out.

use crate::driver::libraries::Opened;
use crate::driver::{DriverError, Product, ProductPlan, ProductShape, Scratch};
use libloading::Library;
use octo_ops::DType;
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

type Handle = *mut c_void;
type Status = c_int;

const SUCCESS: Status = 0;
const NOT_SUPPORTED: Status = 15;
/// `CUBLAS_COMPUTE_32F`.
const COMPUTE_F32: c_int = 68;
/// `CUDA_R_32F`.
const R_32F: c_int = 0;
/// `CUDA_R_16BF`.
const R_16BF: c_int = 14;
/// `CUBLASLT_MATMUL_DESC_TRANSA` and `TRANSB`.
const TRANSPOSE: [c_int; 2] = [3, 4];
/// `CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES`.
const PREFER_WORKSPACE: c_int = 1;
/// `CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK`.
const PREFER_REDUCTION: c_int = 3;
/// `CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES` to `D`.
const PREFER_ALIGNMENT: [c_int; 4] = [5, 6, 7, 8];
/// Beside no split of the sum: `CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE`, parts added up in f32 in the workspace, in order.
const REDUCTION: u32 = 2;

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Heuristic {
    algorithm: [u64; 8],
    workspace: usize,
    state: Status,
    waves: f32,
    reserved: [c_int; 4],
}

macro_rules! api {
    ($( $field:ident = $name:literal ( $($argument:ty),* ) -> $answer:ty; )*) => {
        /// The functions that are called.
        struct Api { $( $field: unsafe extern "C" fn($($argument),*) -> $answer, )* }

        impl Api {
            fn load(library: &Library) -> Result<Api, libloading::Error> {
                // SAFETY: the types are those of `cublasLt.h`, which keeps them from version 11 on.
                unsafe {
                    Ok(Api { $( $field: *library.get::<unsafe extern "C" fn($($argument),*) -> $answer>($name)?, )* })
                }
            }
        }
    };
}

api! {
    create = b"cublasLtCreate"(*mut Handle) -> Status;
    destroy = b"cublasLtDestroy"(Handle) -> Status;
    version = b"cublasLtGetVersion"() -> usize;
    create_operation = b"cublasLtMatmulDescCreate"(*mut Handle, c_int, c_int) -> Status;
    destroy_operation = b"cublasLtMatmulDescDestroy"(Handle) -> Status;
    set_operation = b"cublasLtMatmulDescSetAttribute"(Handle, c_int, *const c_void, usize) -> Status;
    create_layout = b"cublasLtMatrixLayoutCreate"(*mut Handle, c_int, u64, u64, i64) -> Status;
    destroy_layout = b"cublasLtMatrixLayoutDestroy"(Handle) -> Status;
    create_preference = b"cublasLtMatmulPreferenceCreate"(*mut Handle) -> Status;
    destroy_preference = b"cublasLtMatmulPreferenceDestroy"(Handle) -> Status;
    set_preference = b"cublasLtMatmulPreferenceSetAttribute"(Handle, c_int, *const c_void, usize) -> Status;
    heuristic = b"cublasLtMatmulAlgoGetHeuristic"(
        Handle, Handle, Handle, Handle, Handle, Handle, Handle, c_int, *mut Heuristic, *mut c_int
    ) -> Status;
    matmul = b"cublasLtMatmul"(
        Handle, Handle, *const c_void, *const c_void, Handle, *const c_void, Handle, *const c_void, *const c_void,
        Handle, *mut c_void, Handle, *const u64, *mut c_void, usize, *mut c_void
    ) -> Status;
}

/// The library, opened for the context that is current.
pub(super) struct CublasLt {
    api: Api,
    handle: Handle,
    version: usize,
    plans: Vec<Plan>,
    /// What was asked for; `None` where the library has no algorithm.
    asked: HashMap<ProductShape, Option<ProductPlan>>,
    /// Stays loaded as long as its functions are called.
    _library: Library,
}

/// Descriptors and algorithm of a shape.
struct Plan {
    shape: ProductShape,
    operation: Owned,
    layouts: [Owned; 4],
    algorithm: [u64; 8],
    workspace: usize,
}

/// A descriptor, destroyed when it is dropped.
struct Owned {
    at: Handle,
    destroy: unsafe extern "C" fn(Handle) -> Status,
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: made by the library, destroyed once. It is memory of the host: nothing on the device uses it.
        let _ = unsafe { (self.destroy)(self.at) };
    }
}

impl CublasLt {
    /// Opens the library. A context has to be current.
    pub fn open(opened: Opened) -> Result<CublasLt, DriverError> {
        let Opened { library, path, .. } = opened;
        let api = Api::load(&library).map_err(|error| DriverError::Library {
            name: "cuBLASLt",
            variable: "OCTO_LIB_CUBLASLT",
            why: format!("{}: {error}", path.display()),
        })?;
        let mut handle = null_mut();
        // SAFETY: a valid place for the answer.
        check("cublasLtCreate", unsafe { (api.create)(&mut handle) })?;
        // SAFETY: takes nothing.
        let version = unsafe { (api.version)() };
        Ok(CublasLt { api, handle, version, plans: Vec::new(), asked: HashMap::new(), _library: library })
    }

    /// Its version, e.g. 12.4.5.
    pub fn version(&self) -> String {
        format!("{}.{}.{}", self.version / 10_000, self.version / 100 % 100, self.version % 100)
    }

    /// The algorithm of a shape, asked for the first time and kept.
    pub fn plan(&mut self, shape: &ProductShape, workspace: u64) -> Result<Option<ProductPlan>, DriverError> {
        if let Some(&known) = self.asked.get(shape) {
            return Ok(known);
        }
        let plan = match self.ask(shape, workspace)? {
            Some(plan) => {
                let words = plan.algorithm.map(|word| format!("{word:x}")).join(" ");
                tracing::info!("cuBLASLt: {shape}: algorithm {words}, workspace {} bytes", plan.workspace);
                self.plans.push(plan);
                Some(ProductPlan(self.plans.len() as u32 - 1))
            }
            None => {
                tracing::info!("cuBLASLt: {shape}: no algorithm; our own kernel computes it");
                None
            }
        };
        self.asked.insert(*shape, plan);
        Ok(plan)
    }

    fn ask(&self, shape: &ProductShape, workspace: u64) -> Result<Option<Plan>, DriverError> {
        let api = &self.api;
        let operation = made("cublasLtMatmulDescCreate", api.destroy_operation, |at| {
            // SAFETY: a valid place for the answer.
            unsafe { (api.create_operation)(at, COMPUTE_F32, R_32F) }
        })?;
        for (attribute, operand) in TRANSPOSE.into_iter().zip([shape.a, shape.b]) {
            let transpose = c_int::from(operand.transposed);
            // SAFETY: a descriptor of this library, a value of the size that is said.
            let status = unsafe {
                (api.set_operation)(
                    operation.at,
                    attribute,
                    (&raw const transpose).cast(),
                    size_of::<c_int>(),
                )
            };
            check("cublasLtMatmulDescSetAttribute", status)?;
        }
        let layout = |of: crate::driver::Layout| {
            let dtype = if of.dtype == DType::F32 { R_32F } else { R_16BF };
            made("cublasLtMatrixLayoutCreate", api.destroy_layout, |at| {
                // SAFETY: a valid place for the answer.
                unsafe { (api.create_layout)(at, dtype, of.rows, of.columns, of.stride as i64) }
            })
        };
        let layouts = [layout(shape.a)?, layout(shape.b)?, layout(shape.c)?, layout(shape.d)?];
        let preference = made("cublasLtMatmulPreferenceCreate", api.destroy_preference, |at| {
            // SAFETY: a valid place for the answer.
            unsafe { (api.create_preference)(at) }
        })?;
        let prefer = |attribute: c_int, value: &[u8]| {
            // SAFETY: a preference of this library, a value of the size that is said.
            let status =
                unsafe { (api.set_preference)(preference.at, attribute, value.as_ptr().cast(), value.len()) };
            check("cublasLtMatmulPreferenceSetAttribute", status)
        };
        prefer(PREFER_WORKSPACE, &(workspace as usize).to_ne_bytes())?;
        prefer(PREFER_REDUCTION, &REDUCTION.to_ne_bytes())?;
        for (attribute, operand) in PREFER_ALIGNMENT.into_iter().zip([shape.a, shape.b, shape.c, shape.d]) {
            prefer(attribute, &operand.alignment.to_ne_bytes())?;
        }
        let mut best =
            Heuristic { algorithm: [0; 8], workspace: 0, state: SUCCESS, waves: 0.0, reserved: [0; 4] };
        let mut found = 0;
        let [a, b, c, d] = [0, 1, 2, 3].map(|i: usize| layouts[i].at);
        // SAFETY: descriptors of this library; room for the one result that is asked for.
        let status = unsafe {
            (api.heuristic)(self.handle, operation.at, a, b, c, d, preference.at, 1, &mut best, &mut found)
        };
        if status == NOT_SUPPORTED || (status == SUCCESS && (found == 0 || best.state != SUCCESS)) {
            return Ok(None);
        }
        check("cublasLtMatmulAlgoGetHeuristic", status)?;
        let Heuristic { algorithm, workspace, .. } = best;
        Ok(Some(Plan { shape: *shape, operation, layouts, algorithm, workspace }))
    }

    /// Asks for a product on a stream. The operands lie inside allocations, as the caller has seen to.
    pub fn run(
        &self,
        plan: ProductPlan,
        product: &Product,
        scratch: Scratch,
        stream: *mut c_void,
    ) -> Result<(), DriverError> {
        let name = "cublasLtMatmul";
        let found = self.plans.get(plan.0 as usize).filter(|plan| plan.shape == product.shape);
        let Some(Plan { operation, layouts, algorithm, workspace, shape }) = found else {
            return Err(DriverError::InvalidHandle { call: name, handle: format!("{plan:?} of that shape") });
        };
        if *workspace as u64 > scratch.bytes {
            let what = format!("{shape}: a workspace of {workspace} bytes, and there are {}", scratch.bytes);
            return Err(DriverError::InvalidValue { call: name, what });
        }
        let (alpha, beta) = (1.0f32, if shape.adds { 1.0f32 } else { 0.0 });
        let [a, b, c, d] = product.at;
        // SAFETY: descriptors of this library, and operands that lie as the descriptors say; factors and algorithm
        // are copied during the call.
        let status = unsafe {
            (self.api.matmul)(
                self.handle,
                operation.at,
                (&raw const alpha).cast(),
                a as *const c_void,
                layouts[0].at,
                b as *const c_void,
                layouts[1].at,
                (&raw const beta).cast(),
                c as *const c_void,
                layouts[2].at,
                d as *mut c_void,
                layouts[3].at,
                algorithm.as_ptr(),
                scratch.at as *mut c_void,
                *workspace,
                stream,
            )
        };
        check(name, status)
    }
}

impl Drop for CublasLt {
    fn drop(&mut self) {
        self.plans.clear();
        // SAFETY: made by the library, destroyed once.
        let _ = unsafe { (self.api.destroy)(self.handle) };
    }
}

/// A descriptor that the library makes.
fn made(
    name: &'static str,
    destroy: unsafe extern "C" fn(Handle) -> Status,
    make: impl FnOnce(*mut Handle) -> Status,
) -> Result<Owned, DriverError> {
    let mut at = null_mut();
    check(name, make(&mut at))?;
    Ok(Owned { at, destroy })
}

/// A status as a result. Numbers are those of `cublasStatus_t`.
fn check(call: &'static str, status: Status) -> Result<(), DriverError> {
    let name = match status {
        SUCCESS => return Ok(()),
        1 => "CUBLAS_STATUS_NOT_INITIALIZED",
        3 => "CUBLAS_STATUS_ALLOC_FAILED",
        7 => "CUBLAS_STATUS_INVALID_VALUE",
        8 => "CUBLAS_STATUS_ARCH_MISMATCH",
        11 => "CUBLAS_STATUS_MAPPING_ERROR",
        13 => "CUBLAS_STATUS_EXECUTION_FAILED",
        14 => "CUBLAS_STATUS_INTERNAL_ERROR",
        NOT_SUPPORTED => "CUBLAS_STATUS_NOT_SUPPORTED",
        16 => "CUBLAS_STATUS_LICENSE_ERROR",
        _ => "a status without a name",
    };
    let what = format!("{name}; OCTO_LIB_CUBLASLT=off runs without the library");
    Err(DriverError::Cuda { call, code: status as u32, what })
}
