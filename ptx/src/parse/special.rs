//! Special registers by name. PTX ISA, section 10.

use crate::{Special, Type};
use std::fmt;

/// One register for each axis.
type Axes = fn(u8) -> Special;

/// Those with an axis, each a u32; and the oldest architecture that has it.
const AXES: [(&str, Axes, u32); 8] = [
    ("%tid", Special::Tid, 80),
    ("%ntid", Special::Ntid, 80),
    ("%ctaid", Special::Ctaid, 80),
    ("%nctaid", Special::Nctaid, 80),
    ("%cluster_ctaid", Special::ClusterCtaid, 90),
    ("%cluster_nctaid", Special::ClusterNctaid, 90),
    ("%clusterid", Special::Clusterid, 90),
    ("%nclusterid", Special::Nclusterid, 90),
];

/// Those without.
const SCALARS: [(&str, Special, Type, u32); 18] = [
    ("%laneid", Special::Laneid, Type::U32, 80),
    ("%warpid", Special::Warpid, Type::U32, 80),
    ("%nwarpid", Special::Nwarpid, Type::U32, 80),
    ("%smid", Special::Smid, Type::U32, 80),
    ("%nsmid", Special::Nsmid, Type::U32, 80),
    ("%gridid", Special::Gridid, Type::U64, 80),
    ("%lanemask_eq", Special::LanemaskEq, Type::U32, 80),
    ("%lanemask_lt", Special::LanemaskLt, Type::U32, 80),
    ("%lanemask_le", Special::LanemaskLe, Type::U32, 80),
    ("%lanemask_gt", Special::LanemaskGt, Type::U32, 80),
    ("%lanemask_ge", Special::LanemaskGe, Type::U32, 80),
    ("%clock", Special::Clock, Type::U32, 80),
    ("%clock64", Special::Clock64, Type::U64, 80),
    ("%globaltimer", Special::Globaltimer, Type::U64, 80),
    ("%dynamic_smem_size", Special::DynamicSmemSize, Type::U32, 80),
    ("%total_smem_size", Special::TotalSmemSize, Type::U32, 80),
    ("%cluster_ctarank", Special::ClusterCtarank, Type::U32, 90),
    ("%cluster_nctarank", Special::ClusterNctarank, Type::U32, 90),
];

const LETTERS: [&str; 3] = ["x", "y", "z"];

/// Whether a program cannot declare the name.
pub(super) fn reserved(name: &str) -> bool {
    ["_", "WARP_SZ"].contains(&name)
        || AXES.iter().any(|(known, ..)| *known == name)
        || SCALARS.iter().any(|(known, ..)| *known == name)
}

/// The special register `name` or `name.axis`, its type, and the oldest architecture that has it.
pub(super) fn special(name: &str, axis: Option<&str>) -> Option<(Special, Type, u32)> {
    match axis {
        Some(axis) => {
            let axis = LETTERS.iter().position(|letter| *letter == axis)? as u8;
            let (_, make, needs) = AXES.iter().find(|(known, ..)| *known == name)?;
            Some((make(axis), Type::U32, *needs))
        }
        None => {
            let (_, special, ty, needs) = SCALARS.iter().find(|(known, ..)| *known == name)?;
            Some((*special, *ty, *needs))
        }
    }
}

/// The name in the text.
impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, ..)) = SCALARS.iter().find(|(_, special, ..)| special == self) {
            return f.write_str(name);
        }
        for (name, make, _) in AXES {
            for (axis, letter) in LETTERS.iter().enumerate() {
                if make(axis as u8) == *self {
                    return write!(f, "{name}.{letter}");
                }
            }
        }
        write!(f, "{self:?}")
    }
}
