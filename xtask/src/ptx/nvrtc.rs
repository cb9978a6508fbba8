//! NVRTC, the CUDA compiler as a library, loaded at run time.

use anyhow::{Context, bail};
use libloading::{Library, Symbol};
use octo_kernels::source::COMPILER;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::null;

type Program = *mut c_void;
type Strings = *const *const c_char;
type Create =
    unsafe extern "C" fn(*mut Program, *const c_char, *const c_char, c_int, Strings, Strings) -> c_int;
type Compile = unsafe extern "C" fn(Program, c_int, Strings) -> c_int;
type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type Text = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
type Destroy = unsafe extern "C" fn(*mut Program) -> c_int;
type Version = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;
type ErrorString = unsafe extern "C" fn(c_int) -> *const c_char;

/// The loaded library.
pub struct Nvrtc {
    library: Library,
}

impl Nvrtc {
    /// Loads it, and makes sure that it is the release that [`COMPILER`] states.
    pub fn load(path: &Path) -> anyhow::Result<Nvrtc> {
        // SAFETY: NVRTC's initialisers only set up its own state; no other copy of it is loaded.
        let library = unsafe { Library::new(path) }.with_context(|| format!("cannot load {}", path.display()))?;
        let nvrtc = Nvrtc { library };
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the type is that of NVRTC's documentation; both pointers are valid for the call.
        let status = unsafe { nvrtc.symbol::<Version>("nvrtcVersion")?(&mut major, &mut minor) };
        nvrtc.check(status, "nvrtcVersion")?;
        if !COMPILER.starts_with(&format!("nvrtc-{major}.{minor}.")) {
            bail!("{} is release {major}.{minor}, not {COMPILER}", path.display());
        }
        Ok(nvrtc)
    }

    /// The PTX of a source. Includes are looked for in `include` beside it. A warning is an error.
    pub fn compile(&self, path: &str, text: &str, flags: &[String]) -> anyhow::Result<String> {
        let include = Path::new(path).with_file_name("include");
        let include = format!("--include-path={}", include.display());
        let flags: Vec<CString> =
            flags.iter().chain([&include]).map(|flag| CString::new(flag.as_str())).collect::<Result<_, _>>()?;
        let flags: Vec<*const c_char> = flags.iter().map(|flag| flag.as_ptr()).collect();
        let (source, name) = (CString::new(text).context(path.to_owned())?, CString::new(path)?);
        let mut program = Handle { nvrtc: self, program: std::ptr::null_mut() };
        // SAFETY: the strings live until the end of this function; NVRTC copies them; no headers are given.
        let status = unsafe {
            self.symbol::<Create>("nvrtcCreateProgram")?(
                &mut program.program,
                source.as_ptr(),
                name.as_ptr(),
                0,
                null(),
                null(),
            )
        };
        self.check(status, "nvrtcCreateProgram")?;
        // SAFETY: the program was made above; `flags` holds as many pointers as are announced.
        let status = unsafe {
            self.symbol::<Compile>("nvrtcCompileProgram")?(
                program.program,
                flags.len() as c_int,
                flags.as_ptr(),
            )
        };
        let log = program.text("nvrtcGetProgramLogSize", "nvrtcGetProgramLog")?;
        let log = log.trim();
        if status != 0 || !log.is_empty() {
            bail!("{path} does not compile cleanly:\n{log}");
        }
        program.text("nvrtcGetPTXSize", "nvrtcGetPTX")
    }

    fn symbol<T>(&self, name: &str) -> anyhow::Result<Symbol<'_, T>> {
        // SAFETY: each name is asked for with the type above that NVRTC's documentation gives it.
        unsafe { self.library.get(name.as_bytes()) }.with_context(|| format!("NVRTC has no {name}"))
    }

    fn check(&self, status: c_int, call: &str) -> anyhow::Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: NVRTC returns a static string for any number.
        let why = unsafe { CStr::from_ptr(self.symbol::<ErrorString>("nvrtcGetErrorString")?(status)) };
        bail!("{call}: {}", why.to_string_lossy())
    }
}

/// A program, destroyed at the end.
struct Handle<'a> {
    nvrtc: &'a Nvrtc,
    program: Program,
}

impl Handle<'_> {
    fn text(&self, size: &str, get: &str) -> anyhow::Result<String> {
        let mut bytes = 0;
        // SAFETY: the program exists; the pointer is valid for the call.
        let status = unsafe { self.nvrtc.symbol::<Size>(size)?(self.program, &mut bytes) };
        self.nvrtc.check(status, size)?;
        let mut text = vec![0u8; bytes.max(1)];
        // SAFETY: the buffer has the size that NVRTC asked for, its final zero included.
        let status = unsafe { self.nvrtc.symbol::<Text>(get)?(self.program, text.as_mut_ptr().cast()) };
        self.nvrtc.check(status, get)?;
        let text = CStr::from_bytes_until_nul(&text).with_context(|| format!("{get} gave no end"))?;
        Ok(text.to_str().with_context(|| format!("{get} gave no UTF-8"))?.to_owned())
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        if let (false, Ok(destroy)) =
            (self.program.is_null(), self.nvrtc.symbol::<Destroy>("nvrtcDestroyProgram"))
        {
            // SAFETY: the program exists and is not used afterwards. A failure leaks it, which hurts nobody here.
            unsafe { destroy(&mut self.program) };
        }
    }
}
