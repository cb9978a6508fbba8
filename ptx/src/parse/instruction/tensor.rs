//! Matrices held by a warp. PTX ISA, section 9.7.14.5.

use super::super::error::Result;
use super::super::form::Form;
use crate::{Matrix, Operation, Space, Type};
use Type::*;

/// Takes what all of these begin with.
fn together(form: &mut Form<'_, '_>) -> Result<()> {
    form.need_one("sync")?;
    form.need_one("aligned")
}

/// Takes shape, number of 8×8 matrices, transposition, space and element type.
fn matrices(form: &mut Form<'_, '_>) -> Result<(usize, bool, Space)> {
    together(form)?;
    form.need_one("m8n8")?;
    let count = form.need(&[("x1", 1), ("x2", 2), ("x4", 4)])?;
    let transpose = form.take("trans");
    let spaces = [("shared", Space::Shared), ("shared::cta", Space::Shared)];
    let space = form.one_of(&spaces).unwrap_or(Space::Generic);
    form.ty(&[B16])?;
    form.end(2, 2)?;
    Ok((count, transpose, space))
}

/// `ldmatrix`
pub(super) fn load_matrix(form: &mut Form<'_, '_>) -> Result<Operation> {
    let (count, transpose, space) = matrices(form)?;
    in_shared(form, space)?;
    let d = form.all_registers(0, count, B32)?;
    Ok(Operation::LoadMatrix { transpose, d, address: form.address(1, Space::Shared)?.1 })
}

/// `stmatrix`
pub(super) fn store_matrix(form: &mut Form<'_, '_>) -> Result<Operation> {
    let (count, transpose, space) = matrices(form)?;
    form.needs(90)?;
    in_shared(form, space)?;
    let a = form.values(1, &[count], B32, false, false)?;
    Ok(Operation::StoreMatrix { transpose, address: form.address(0, Space::Shared)?.1, a })
}

/// The instruction's meaning has no place for a generic address.
fn in_shared(form: &Form<'_, '_>, space: Space) -> Result<()> {
    match space {
        Space::Shared => Ok(()),
        _ => Err(form.unsupported("a generic address of matrices", "write .shared and convert the address")),
    }
}

/// `movmatrix`
pub(super) fn move_matrix(form: &mut Form<'_, '_>) -> Result<Operation> {
    together(form)?;
    form.need_one("m8n8")?;
    form.need_one("trans")?;
    form.ty(&[B16])?;
    form.end(2, 2)?;
    Ok(Operation::MoveMatrix { d: form.register(0, B32)?, a: form.value(1, B32)? })
}

/// Shape, element types of d and c, and of a and b; registers of d and c, of a, and of b.
type Row = (&'static str, [u32; 3], Matrix, Matrix, [usize; 3]);

/// The shapes that keep a fragment in whole registers, by their names. Tables 32 and following.
const PRODUCTS: [Row; 11] = [
    ("m16n8k8", [16, 8, 8], Matrix::F16, Matrix::F16, [2, 2, 1]),
    ("m16n8k8", [16, 8, 8], Matrix::F32, Matrix::F16, [4, 2, 1]),
    ("m16n8k8", [16, 8, 8], Matrix::F32, Matrix::Bf16, [4, 2, 1]),
    ("m16n8k16", [16, 8, 16], Matrix::F16, Matrix::F16, [2, 4, 2]),
    ("m16n8k16", [16, 8, 16], Matrix::F32, Matrix::F16, [4, 4, 2]),
    ("m16n8k16", [16, 8, 16], Matrix::F32, Matrix::Bf16, [4, 4, 2]),
    ("m16n8k4", [16, 8, 4], Matrix::F32, Matrix::Tf32, [4, 2, 1]),
    ("m16n8k8", [16, 8, 8], Matrix::F32, Matrix::Tf32, [4, 4, 2]),
    ("m8n8k16", [8, 8, 16], Matrix::S32, Matrix::S8, [2, 1, 1]),
    ("m16n8k16", [16, 8, 16], Matrix::S32, Matrix::S8, [4, 2, 1]),
    ("m16n8k32", [16, 8, 32], Matrix::S32, Matrix::S8, [4, 4, 2]),
];

const ELEMENTS: [(&str, Matrix); 6] = [
    ("f16", Matrix::F16),
    ("bf16", Matrix::Bf16),
    ("tf32", Matrix::Tf32),
    ("f32", Matrix::F32),
    ("s8", Matrix::S8),
    ("s32", Matrix::S32),
];

/// Registers of an accumulator: f32 and s32 alone in theirs, f16 in pairs.
fn accumulator(element: Matrix) -> Type {
    match element {
        Matrix::F32 => F32,
        _ => B32,
    }
}

/// `mma.sync`
pub(super) fn mma(form: &mut Form<'_, '_>) -> Result<Operation> {
    together(form)?;
    let names = PRODUCTS.map(|(name, shape, ..)| (name, shape));
    let shape = form.need(&names)?;
    form.need_one("row")?;
    form.need_one("col")?;
    let mut types = [Matrix::F32; 4];
    for element in &mut types {
        *element = form.need(&ELEMENTS)?;
    }
    let [d, a, b, c] = types;
    let row = PRODUCTS.iter().find(|row| row.1 == shape && row.2 == d && row.3 == a);
    let Some(&(.., [long, left, right])) = row.filter(|_| d == c && a == b) else {
        return Err(form.combination("the tensor cores have no such product of this shape"));
    };
    form.end(4, 4)?;
    Ok(Operation::Mma {
        shape,
        types,
        d: form.all_registers(0, long, accumulator(d))?,
        a: form.values(1, &[left], B32, false, false)?,
        b: form.values(2, &[right], B32, false, false)?,
        c: form.values(3, &[long], accumulator(c), false, false)?,
    })
}
