//! Instructions by mnemonic, one file a family. Each function takes the modifiers in the order of PTX ISA 8.4,
//! section 9.7, then the operands, and leaves nothing over.

mod arithmetic;
mod control;
mod convert;
mod logic;
mod memory;
mod tensor;
mod warp;

use super::error::{Fault, Mistake, Result};
use super::form::Form;
use crate::{Binary, Operation, Rounding, Type, Unary};
use Type::*;

/// Rounding of floats.
const ROUNDINGS: [(&str, Rounding); 4] =
    [("rn", Rounding::Nearest), ("rz", Rounding::Zero), ("rm", Rounding::Down), ("rp", Rounding::Up)];

/// Integers of arithmetic.
const INTEGERS: [Type; 6] = [U16, U32, U64, S16, S32, S64];

/// The instruction's meaning.
pub(super) fn operation(form: &mut Form<'_, '_>) -> Result<Operation> {
    match form.name {
        "add" => arithmetic::add(form, Binary::Add),
        "sub" => arithmetic::add(form, Binary::Sub),
        "addc" => arithmetic::carry(form, false, true),
        "subc" => arithmetic::carry(form, true, true),
        "mul" => arithmetic::multiply(form),
        "mad" => arithmetic::multiply_add(form),
        "fma" => arithmetic::fma(form),
        "div" => arithmetic::divide(form),
        "rem" => arithmetic::remainder(form),
        "sad" => arithmetic::sum_of_differences(form),
        "min" => arithmetic::extremum(form, |nan| Binary::Min { nan }),
        "max" => arithmetic::extremum(form, |nan| Binary::Max { nan }),
        "abs" => arithmetic::sign(form, Unary::Abs),
        "neg" => arithmetic::sign(form, Unary::Neg),
        "copysign" => arithmetic::copy_sign(form),
        "rcp" => arithmetic::root(form, |approximate| Unary::Rcp { approximate }),
        "sqrt" => arithmetic::root(form, |approximate| Unary::Sqrt { approximate }),
        "rsqrt" => arithmetic::approximation(form, Unary::Rsqrt),
        "ex2" => arithmetic::approximation(form, Unary::Ex2),
        "lg2" => arithmetic::approximation(form, Unary::Lg2),
        "sin" => arithmetic::approximation(form, Unary::Sin),
        "cos" => arithmetic::approximation(form, Unary::Cos),
        "tanh" => arithmetic::approximation(form, Unary::Tanh),
        "and" => logic::bitwise(form, Binary::And),
        "or" => logic::bitwise(form, Binary::Or),
        "xor" => logic::bitwise(form, Binary::Xor),
        "not" => logic::unary(form, Unary::Not, &[Pred, B16, B32, B64]),
        "cnot" => logic::unary(form, Unary::Cnot, &[B16, B32, B64]),
        "brev" => logic::unary(form, Unary::Brev, &[B32, B64]),
        "popc" => logic::count(form, Unary::Popc, &[B32, B64]),
        "clz" => logic::count(form, Unary::Clz, &[B32, B64]),
        "bfind" => logic::find_bit(form),
        "shl" => logic::shift(form, Binary::Shl, &[B16, B32, B64]),
        "shr" => logic::shift(form, Binary::Shr, &[B16, B32, B64, U16, U32, U64, S16, S32, S64]),
        "shf" => logic::funnel_shift(form),
        "lop3" => logic::table(form),
        "prmt" => logic::permute(form),
        "bfe" => logic::extract(form),
        "bfi" => logic::insert(form),
        "setp" => logic::set_predicate(form),
        "set" => logic::set(form),
        "selp" => logic::select(form),
        "mov" => convert::copy(form),
        "cvt" => convert::convert(form),
        "cvta" => convert::convert_address(form),
        "ld" => memory::load(form),
        "ldu" => memory::load_uniform(form),
        "st" => memory::store(form),
        "atom" => memory::atomic(form),
        "red" => memory::reduction(form),
        "prefetch" | "prefetchu" | "applypriority" => memory::prefetch(form),
        "createpolicy" => memory::policy(form),
        "membar" | "fence" => memory::fence(form),
        "cp" => memory::copy_async(form),
        "bra" => control::branch(form),
        "brx" => control::branch_indexed(form),
        "ret" | "exit" => control::exit(form),
        "trap" => control::trap(form),
        "brkpt" | "nanosleep" | "pmevent" | "griddepcontrol" => control::nothing(form),
        "bar" | "barrier" => control::barrier(form),
        "shfl" => warp::shuffle(form),
        "vote" => warp::vote(form),
        "match" => warp::matching(form),
        "redux" => warp::redux(form),
        "activemask" => warp::active_mask(form),
        "elect" => warp::elect(form),
        "ldmatrix" => tensor::load_matrix(form),
        "stmatrix" => tensor::store_matrix(form),
        "movmatrix" => tensor::move_matrix(form),
        "mma" => tensor::mma(form),
        "call" => Err(form.unsupported(
            "a call",
            "every function must be inlined; NVRTC keeps calls for __noinline__, recursion, printf and assert",
        )),
        name => Err(Fault::new(form.head, Mistake::Instruction(name.to_owned()))),
    }
}
