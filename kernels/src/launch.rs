//! A launch as data: what a launcher makes of an op, and what a driver executes.

use crate::gemm::GemmError;
use crate::tuning::TuningError;
use octo_ops::{DType, View};

/// One kernel launch. The kernel takes one parameter: a `#[repr(C)]` struct as `const __grid_constant__`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Name of the PTX entry.
    pub entry: String,
    /// Blocks by axis.
    pub grid: [u32; 3],
    /// Threads of a block by axis.
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// Whether all blocks must be resident at once.
    pub cooperative: bool,
    /// The parameter struct, byte for byte.
    pub arguments: Vec<u8>,
}

/// A field of a parameter struct, as the CUDA source lays it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in both languages.
    pub name: &'static str,
    /// Byte offset.
    pub offset: u32,
    /// Size in bytes.
    pub bytes: u32,
}

/// A parameter struct: its bytes are what the kernel reads.
pub trait Arguments: bytemuck::Pod {
    /// Every field; a test compares size, alignment and offsets with the PTX entry.
    const FIELDS: &'static [Field];
}

/// Makes a parameter struct and the list of its fields. Padding has to be written out: a struct with gaps does not
/// compile.
macro_rules! arguments {
    ($(#[$doc:meta])* pub struct $name:ident { $( $(#[$field_doc:meta])* pub $field:ident : $type:ty ),* $(,)? }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct $name { $( $(#[$field_doc])* pub $field: $type, )* }

        impl $crate::Arguments for $name {
            const FIELDS: &'static [$crate::Field] = &[$( $crate::Field {
                name: stringify!($field),
                offset: std::mem::offset_of!($name, $field) as u32,
                bytes: size_of::<$type>() as u32,
            }, )*];
        }
    };
}
pub(crate) use arguments;

/// Bytes of the workspace that the launches of one op share: f32 logits of 1,024 rows over 160 Ki ids. With
/// half as many rows the gradient of the head's weight would be bound by what it reads and writes, not by its operations.
pub const WORKSPACE_BYTES: u64 = 640 << 20;

/// Where views lie in device memory.
pub trait Addresses {
    /// Device address of the view's first element.
    fn address(&self, view: &View) -> u64;
    /// Device address of [`WORKSPACE_BYTES`] bytes, a multiple of 256, in which an op's launches leave something for the
    /// next; what is there does not outlive the op.
    fn workspace(&self) -> u64;
}

/// Why an op cannot run on its kernel.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// An operand's element type is not one the kernel takes.
    #[error("{op}: operand `{operand}` is {got}, the kernel takes {want:?}")]
    DType {
        /// Op name.
        op: &'static str,
        /// Operand name.
        operand: &'static str,
        /// Type found.
        got: DType,
        /// Types it takes.
        want: Vec<DType>,
    },
    /// The kernel takes an operand only without gaps.
    #[error("{op}: operand `{operand}` ({view:?}) has gaps, the kernel takes unbroken memory")]
    Gaps {
        /// Op name.
        op: &'static str,
        /// Operand name.
        operand: &'static str,
        /// The view.
        view: View,
    },
    /// Rows of an operand do not begin at multiples of 16 bytes.
    #[error(
        "{op}: rows of `{operand}` ({view:?}) do not all begin at multiples of 16 bytes; give it a row stride that is a \
         multiple of 8 elements"
    )]
    Unaligned {
        /// Op name.
        op: &'static str,
        /// Operand name.
        operand: &'static str,
        /// The view.
        view: View,
    },
    /// A constant of the op is not one the kernel takes.
    #[error("{op}: `{constant}` is {got}, the kernel takes {want}")]
    Constant {
        /// Op name.
        op: &'static str,
        /// Name of the constant.
        constant: &'static str,
        /// Its value.
        got: f32,
        /// Values it takes.
        want: &'static str,
    },
    /// No kernel for the device.
    #[error(transparent)]
    Tuning(TuningError),
    /// One of the op's matrix products cannot run.
    #[error(transparent)]
    Product(GemmError),
    /// More blocks than a launch can have.
    #[error("{op}: {blocks} blocks are more than one launch has ({most}); split the op by rows")]
    TooLarge {
        /// Op name.
        op: &'static str,
        /// Blocks needed.
        blocks: u64,
        /// Blocks there can be.
        most: u64,
    },
    /// What one launch leaves for the next does not fit between them.
    #[error(
        "{op}: {bytes} bytes are needed between its launches, the workspace has {WORKSPACE_BYTES}; split the op"
    )]
    Workspace {
        /// Op name.
        op: &'static str,
        /// Bytes needed.
        bytes: u64,
    },
}

/// An op's operands, as its launcher looks at them.
pub(crate) struct Operands<'a> {
    /// Op name, for errors.
    pub op: &'static str,
    /// Where views lie.
    pub at: &'a dyn Addresses,
}

impl Operands<'_> {
    /// The address of a view whose element type is one of these.
    pub fn address(&self, operand: &'static str, view: &View, want: &[DType]) -> Result<u64, LaunchError> {
        if !want.contains(&view.dtype) {
            let (op, got, want) = (self.op, view.dtype, want.to_vec());
            return Err(LaunchError::DType { op, operand, got, want });
        }
        Ok(self.at.address(view))
    }

    /// As [`Operands::address`], of a view without gaps.
    pub fn dense(&self, operand: &'static str, view: &View, want: &[DType]) -> Result<u64, LaunchError> {
        let address = self.address(operand, view, want)?;
        if !view.is_contiguous() {
            return Err(LaunchError::Gaps { op: self.op, operand, view: *view });
        }
        Ok(address)
    }

    /// Refuses more blocks than `most`.
    pub fn at_most(&self, blocks: u64, most: u64) -> Result<(), LaunchError> {
        if blocks > most { Err(LaunchError::TooLarge { op: self.op, blocks, most }) } else { Ok(()) }
    }

    /// The workspace, if so many bytes fit there.
    pub fn workspace(&self, bytes: u64) -> Result<u64, LaunchError> {
        if bytes > WORKSPACE_BYTES {
            return Err(LaunchError::Workspace { op: self.op, bytes });
        }
        Ok(self.at.workspace())
    }

    /// Whether every row of a view begins at a multiple of 16 bytes.
    pub fn rows_aligned(&self, view: &View) -> bool {
        let stride = if view.rows() > 1 { view.row_stride() as u64 * view.dtype.bytes() } else { 0 };
        (self.at.address(view) | stride).is_multiple_of(16)
    }

    /// A launch of so many blocks along one axis; none of no blocks.
    pub fn launch<A: Arguments>(
        &self,
        entry: &str,
        blocks: u64,
        threads: u32,
        arguments: &A,
    ) -> Result<Vec<Launch>, LaunchError> {
        self.at_most(blocks, (1 << 31) - 1)?;
        if blocks == 0 {
            return Ok(Vec::new());
        }
        Ok(vec![Launch {
            entry: entry.to_owned(),
            grid: [blocks as u32, 1, 1],
            block: [threads, 1, 1],
            shared_bytes: 0,
            cooperative: false,
            arguments: bytemuck::bytes_of(arguments).to_vec(),
        }])
    }
}

/// What launchers' tests share.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use octo_ops::BufferId;

    /// Buffer b begins at b · 2⁴⁰.
    pub(crate) struct Flat;

    impl Flat {
        pub(crate) fn view(buffer: u32, dtype: DType, shape: &[u32]) -> View {
            View::new(BufferId(buffer), 0, dtype, shape)
        }
    }

    impl Addresses for Flat {
        fn address(&self, view: &View) -> u64 {
            (u64::from(view.buffer.0) << 40) + view.offset
        }

        fn workspace(&self) -> u64 {
            WORKSPACE
        }
    }

    /// Where the workspace begins.
    pub(crate) const WORKSPACE: u64 = 99 << 40;

    /// The arguments of one of several launches.
    pub(crate) fn arguments_of<A: Arguments>(launch: &Launch) -> A {
        bytemuck::pod_read_unaligned(&launch.arguments)
    }

    /// The one launch there is, with its arguments.
    pub(crate) fn only<A: Arguments>(launches: Result<Vec<Launch>, LaunchError>) -> (Launch, A) {
        let launches = launches.unwrap();
        let [launch] = launches.as_slice() else { panic!("{launches:?}") };
        (launch.clone(), arguments_of(launch))
    }
}
