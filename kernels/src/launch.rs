//! A launch as data: what a launcher makes of an op, and what a driver executes.

use octo_ops::View;

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

/// Where views lie in device memory.
pub trait Addresses {
    /// Device address of the view's first element.
    fn address(&self, view: &View) -> u64;
}
