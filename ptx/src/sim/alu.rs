//! Runs stretches of register operations: the hot loop of the simulated GPU.
//!
//! The same code is built twice, for any host and for hosts with AVX2 and FMA; both give the same bits. Plain f32
//! operations to nearest are loops that become vectors (the host's IEEE arithmetic, NaN results made canonical); all
//! other float arithmetic asks [`crate::numerics`] lane by lane.

use super::files::Files;
use super::integer::{self, lanes};
use super::memory::bank::{Lanes, each};
use super::program::{Alu, Compared, NONE, Op, Outcome, Program, Quick, Slot, Width};
use crate::numerics;
use crate::{Combine, Compare};

/// How often each instruction ran: (warps, threads).
pub(super) type Tally = Vec<[u64; 2]>;

/// Where a stretch stopped.
pub(super) struct Stretch {
    pub pc: u32,
    /// Instructions executed.
    pub steps: u32,
}

/// Whether the host has the instructions of the faster build.
pub(super) fn fast_host() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma")
            && std::arch::is_x86_feature_detected!("bmi2")
            && std::arch::is_x86_feature_detected!("lzcnt")
            && std::arch::is_x86_feature_detected!("popcnt")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Executes from `pc` for the lanes of `mask` until an instruction that is no register operation, a place where lanes
/// may meet, `stop`, or `most` instructions.
#[inline]
#[expect(clippy::too_many_arguments, reason = "the innermost call; a struct of them costs registers")]
pub(super) fn run(
    fast: bool,
    files: &mut Files,
    program: &Program,
    tally: &mut Tally,
    mask: u32,
    pc: u32,
    stop: u32,
    most: u32,
) -> Stretch {
    #[cfg(target_arch = "x86_64")]
    if fast {
        // SAFETY: `fast` comes from `fast_host`, which found every feature of the function on this host.
        #[allow(unsafe_code)]
        return unsafe { run_avx2(files, program, tally, mask, pc, stop, most) };
    }
    let _ = fast;
    run_anywhere(files, program, tally, mask, pc, stop, most)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi2,lzcnt,popcnt")]
fn run_avx2(
    files: &mut Files,
    program: &Program,
    tally: &mut Tally,
    mask: u32,
    pc: u32,
    stop: u32,
    most: u32,
) -> Stretch {
    stretch(files, program, tally, mask, pc, stop, most)
}

fn run_anywhere(
    files: &mut Files,
    program: &Program,
    tally: &mut Tally,
    mask: u32,
    pc: u32,
    stop: u32,
    most: u32,
) -> Stretch {
    stretch(files, program, tally, mask, pc, stop, most)
}

#[inline(always)]
fn stretch(
    files: &mut Files,
    program: &Program,
    tally: &mut Tally,
    mask: u32,
    mut pc: u32,
    stop: u32,
    most: u32,
) -> Stretch {
    let mut steps = 0;
    while let Some(line) = program.lines.get(pc as usize) {
        if steps > 0 && (line.leader || pc == stop || steps >= most) {
            break;
        }
        let Op::Alu(alu) = &line.op else { break };
        let active = mask & files.test(line.guard);
        let counts = &mut tally[pc as usize];
        counts[0] += 1;
        counts[1] += u64::from(active.count_ones());
        if active != 0 {
            execute(files, program, alu, active);
        }
        pc += 1;
        steps += 1;
    }
    Stretch { pc, steps }
}

#[inline(always)]
fn execute(files: &mut Files, program: &Program, alu: &Alu, mask: u32) {
    macro_rules! narrow {
        ($slot:expr) => {
            files.narrow(program, $slot)
        };
    }
    macro_rules! wide {
        ($slot:expr) => {
            files.wide(program, $slot)
        };
    }
    match *alu {
        Alu::Move32 { d, a } => {
            let value = *narrow!(a);
            files.set_narrow(d, mask, &value);
        }
        Alu::Move64 { d, a } => {
            let value = *wide!(a);
            files.set_wide(d, mask, &value);
        }
        Alu::MovePredicate { d, a } => {
            let value = files.test(a);
            files.set_predicate(d, mask, value);
        }
        Alu::Split64 { low, high, a } => {
            let a = *wide!(a);
            if low != NONE {
                files.set_narrow(low, mask, &lanes!(i => a[i] as u32));
            }
            if high != NONE {
                files.set_narrow(high, mask, &lanes!(i => (a[i] >> 32) as u32));
            }
        }
        Alu::Join64 { d, low, high } => {
            let (low, high) = (narrow!(low), narrow!(high));
            let value = lanes!(i => u64::from(high[i]) << 32 | u64::from(low[i]));
            files.set_wide(d, mask, &value);
        }
        Alu::Split { ref parts, bits, a, wide } => {
            let a = if wide { *wide!(a) } else { extend(narrow!(a)) };
            for (index, &part) in parts.iter().enumerate().filter(|(_, part)| **part != NONE) {
                let shift = bits * index as u32;
                files.set_narrow(part, mask, &lanes!(i => (a[i] >> shift) as u32 & ((1 << bits) - 1)));
            }
        }
        Alu::Join { d, ref parts, bits, wide } => {
            let mut value: Lanes<u64> = [0; 32];
            for (index, &part) in parts.iter().enumerate() {
                let (part, shift) = (narrow!(part), bits * index as u32);
                value = lanes!(i => value[i] | u64::from(part[i] & ((1 << bits) - 1)) << shift);
            }
            put(files, wide, d, mask, &value);
        }
        Alu::Integer { op, width: Width::W32, d, a, b } => {
            let value = integer::binary32(op, narrow!(a), narrow!(b));
            files.set_narrow(d, mask, &value);
        }
        Alu::Integer { op, width: Width::W64, d, a, b } => {
            let value = integer::binary64(op, wide!(a), wide!(b));
            files.set_wide(d, mask, &value);
        }
        Alu::Integer { op, width: Width::W16, d, a, b } => {
            let value = integer::binary16(op, &integer::cut16(narrow!(a)), &integer::cut16(narrow!(b)));
            files.set_narrow(d, mask, &integer::extend16(&value));
        }
        Alu::IntegerUnary { op, width: Width::W32, d, a } => {
            let value = integer::unary32(op, narrow!(a));
            files.set_narrow(d, mask, &value);
        }
        Alu::IntegerUnary { op, width: Width::W64, d, a } => {
            let value = integer::unary64(op, wide!(a));
            files.set_wide(d, mask, &value);
        }
        Alu::IntegerUnary { op, width: Width::W16, d, a } => {
            let value = integer::unary16(op, &integer::cut16(narrow!(a)));
            files.set_narrow(d, mask, &integer::extend16(&value));
        }
        Alu::Count { op, width, d, a } => {
            let value = if width == Width::W64 {
                integer::count64(op, wide!(a))
            } else {
                integer::count32(op, narrow!(a))
            };
            files.set_narrow(d, mask, &value);
        }
        Alu::Shift { op, width: Width::W64, d, a, amount } => {
            let value = integer::shift64(op, wide!(a), narrow!(amount));
            files.set_wide(d, mask, &value);
        }
        Alu::Shift { op, width: Width::W32, d, a, amount } => {
            let value = integer::shift32(op, narrow!(a), narrow!(amount));
            files.set_narrow(d, mask, &value);
        }
        Alu::Shift { op, width: Width::W16, d, a, amount } => {
            let value = integer::shift16(op, narrow!(a), narrow!(amount));
            files.set_narrow(d, mask, &value);
        }
        Alu::MulWide { signed, width: Width::W16, d, a, b, c } => {
            let (a, b) = (integer::cut16(narrow!(a)), integer::cut16(narrow!(b)));
            let mut value: Lanes<u32> = if signed {
                lanes!(i => (i32::from(a[i] as i16) * i32::from(b[i] as i16)) as u32)
            } else {
                lanes!(i => u32::from(a[i]) * u32::from(b[i]))
            };
            if c != NONE {
                let c = narrow!(c);
                value = lanes!(i => value[i].wrapping_add(c[i]));
            }
            files.set_narrow(d, mask, &value);
        }
        Alu::MulWide { signed, width: _, d, a, b, c } => {
            let (a, b) = (narrow!(a), narrow!(b));
            let mut value: Lanes<u64> = if signed {
                lanes!(i => (i64::from(a[i] as i32) * i64::from(b[i] as i32)) as u64)
            } else {
                lanes!(i => u64::from(a[i]) * u64::from(b[i]))
            };
            if c != NONE {
                let c = wide!(c);
                value = lanes!(i => value[i].wrapping_add(c[i]));
            }
            files.set_wide(d, mask, &value);
        }
        Alu::Mad { op, saturate, width, d, a, b, c } => match width {
            Width::W16 => {
                let product = integer::binary16(op, &integer::cut16(narrow!(a)), &integer::cut16(narrow!(b)));
                let c = narrow!(c);
                let value = lanes!(i => u32::from(product[i].wrapping_add(c[i] as u16)));
                files.set_narrow(d, mask, &value);
            }
            Width::W32 => {
                let product = integer::binary32(op, narrow!(a), narrow!(b));
                let add = if saturate {
                    super::program::Integer::AddSaturating
                } else {
                    super::program::Integer::Add
                };
                let value = integer::binary32(add, &product, narrow!(c));
                files.set_narrow(d, mask, &value);
            }
            Width::W64 => {
                let product = integer::binary64(op, wide!(a), wide!(b));
                let c = wide!(c);
                let value = lanes!(i => product[i].wrapping_add(c[i]));
                files.set_wide(d, mask, &value);
            }
        },
        Alu::Lop3 { table, d, a, b, c } => {
            let (a, b, c) = (narrow!(a), narrow!(b), narrow!(c));
            let value = lanes!(i => integer::lop3(table, a[i], b[i], c[i]));
            files.set_narrow(d, mask, &value);
        }
        Alu::Funnel { left, wrap, d, a, b, c } => {
            let (a, b, c) = (narrow!(a), narrow!(b), narrow!(c));
            let value = lanes!(i => integer::funnel(left, wrap, a[i], b[i], c[i]));
            files.set_narrow(d, mask, &value);
        }
        Alu::Permute { d, a, b, c } => {
            let (a, b, c) = (narrow!(a), narrow!(b), narrow!(c));
            let value = lanes!(i => integer::permute(a[i], b[i], c[i]));
            files.set_narrow(d, mask, &value);
        }
        Alu::Compare { what, a, b, outcome } => compare(files, program, what, a, b, outcome, mask),
        Alu::Select { wide: false, d, a, b, p } => {
            let p = files.test(p);
            let (a, b) = (narrow!(a), narrow!(b));
            let value = lanes!(i => if p >> i & 1 == 1 { a[i] } else { b[i] });
            files.set_narrow(d, mask, &value);
        }
        Alu::Select { wide: true, d, a, b, p } => {
            let p = files.test(p);
            let (a, b) = (wide!(a), wide!(b));
            let value = lanes!(i => if p >> i & 1 == 1 { a[i] } else { b[i] });
            files.set_wide(d, mask, &value);
        }
        Alu::Logic { op, d, a, b } => {
            let value = combine(op, files.test(a), files.test(b));
            files.set_predicate(d, mask, value);
        }
        Alu::Resize { from, signed, to, to_signed, into, d, a, from_wide } => {
            let a = if from_wide { *wide!(a) } else { extend(narrow!(a)) };
            let value = resize(&resize(&a, from, signed), to, to_signed);
            match into {
                64 => files.set_wide(d, mask, &value),
                _ => files.set_narrow(d, mask, &lanes!(i => value[i] as u32 & (!0 >> (32 - into)))),
            }
        }
        Alu::Quick { op, d, a, b } => {
            let value = quick(op, narrow!(a), narrow!(b));
            files.set_narrow(d, mask, &value);
        }
        Alu::QuickFma { d, a, b, c } => {
            let (a, b, c) = (narrow!(a), narrow!(b), narrow!(c));
            let float = f32::from_bits;
            let value = lanes!(i => canonical(float(a[i]).mul_add(float(b[i]), float(c[i]))));
            files.set_narrow(d, mask, &value);
        }
        Alu::ToGeneric { window, d, a } => {
            let a = wide!(a);
            let value = lanes!(i => a[i].wrapping_add(window));
            files.set_wide(d, mask, &value);
        }
        Alu::ActiveMask { d } => files.set_narrow(d, mask, &[mask; 32]),
        _ => rare(files, program, alu, mask),
    }
}

/// Operations that no kernel spends its time in, a lane at a time.
#[inline(never)]
fn rare(files: &mut Files, program: &Program, alu: &Alu, mask: u32) {
    let load = |files: &Files, wide: bool, slot: Slot| {
        if wide { *files.wide(program, slot) } else { extend(files.narrow(program, slot)) }
    };
    let narrow = |files: &Files, slot: Slot| *files.narrow(program, slot);
    let mut value: Lanes<u64> = [0; 32];
    match *alu {
        Alu::Sad { signed, width, d, a, b, c } => {
            let wide = width == Width::W64;
            let (a, b, c) = (load(files, wide, a), load(files, wide, b), load(files, wide, c));
            let bits = bits(width);
            each(mask, |i| {
                let difference = if signed {
                    let sign = |value: u64| ((value << (64 - bits)) as i64) >> (64 - bits);
                    sign(a[i]).abs_diff(sign(b[i]))
                } else {
                    a[i].abs_diff(b[i])
                };
                value[i] = c[i].wrapping_add(difference) & (!0 >> (64 - bits));
            });
            put(files, wide, d, mask, &value);
        }
        Alu::Extract { signed, width, d, a, start, length } => {
            let wide = width == Width::W64;
            let (a, start, length) = (load(files, wide, a), narrow(files, start), narrow(files, length));
            each(mask, |i| value[i] = integer::extract(bits(width), signed, a[i], start[i], length[i]));
            put(files, wide, d, mask, &value);
        }
        Alu::Insert { width, d, a, b, start, length } => {
            let wide = width == Width::W64;
            let (a, b) = (load(files, wide, a), load(files, wide, b));
            let (start, length) = (narrow(files, start), narrow(files, length));
            each(mask, |i| value[i] = integer::insert(bits(width), a[i], b[i], start[i], length[i]));
            put(files, wide, d, mask, &value);
        }
        Alu::Carry { subtract, carry_in, carry_out, width, d, a, b } => {
            let wide = width == Width::W64;
            let (a, b) = (load(files, wide, a), load(files, wide, b));
            let bits = bits(width);
            let mut carries = files.carry;
            each(mask, |i| {
                let old = u64::from(carry_in && files.carry >> i & 1 == 1);
                // PTX ISA 8.4, section 9.7.2: sub.cc stores the borrow, and subc subtracts it.
                let (sum, over) = if subtract {
                    let (first, one) = a[i].overflowing_sub(b[i]);
                    let (second, two) = first.overflowing_sub(old);
                    (second, one || two)
                } else {
                    let (first, one) = a[i].overflowing_add(b[i]);
                    let (second, two) = first.overflowing_add(old);
                    (second, one || two)
                };
                let over = if bits == 32 { sum >> 32 != 0 } else { over };
                value[i] = sum;
                carries = (carries & !(1 << i)) | u32::from(over) << i;
            });
            if carry_out {
                files.carry = carries;
            }
            put(files, wide, d, mask, &value);
        }
        Alu::Convert { ref conversion, into, d, a, from_wide, to_wide } => {
            let a = load(files, from_wide, a);
            let keep = !0 >> (64 - conversion.from.bits());
            each(mask, |i| {
                let result = numerics::convert(conversion, a[i] & keep).unwrap_or_default();
                value[i] = result & (!0 >> (64 - into));
            });
            put(files, to_wide, d, mask, &value);
        }
        Alu::ConvertPair { to, rounding, relu, d, high, low } => {
            let (high, low) = (narrow(files, high), narrow(files, low));
            each(mask, |i| {
                value[i] =
                    numerics::convert_pair(to, rounding, relu, high[i], low[i]).unwrap_or_default().into();
            });
            put(files, false, d, mask, &value);
        }
        Alu::FloatUnary { op, ty, rounding, flush, d, a } => {
            let wide = ty.bits() == 64;
            let a = load(files, wide, a);
            each(mask, |i| value[i] = numerics::unary(op, ty, rounding, flush, a[i]).unwrap_or_default());
            put(files, wide, d, mask, &value);
        }
        Alu::FloatBinary { op, ty, rounding, flush, saturate, d, a, b } => {
            let wide = ty.bits() == 64;
            let (a, b) = (load(files, wide, a), load(files, wide, b));
            each(mask, |i| {
                value[i] =
                    numerics::arithmetic(op, ty, rounding, flush, saturate, a[i], b[i]).unwrap_or_default();
            });
            put(files, wide, d, mask, &value);
        }
        Alu::FloatFma { ty, rounding, flush, saturate, d, a, b, c } => {
            let wide = ty.bits() == 64;
            let (a, b, c) = (load(files, wide, a), load(files, wide, b), load(files, wide, c));
            each(mask, |i| {
                let result = numerics::fma(ty, rounding, flush, saturate, false, a[i], b[i], c[i]);
                value[i] = result.unwrap_or_default();
            });
            put(files, wide, d, mask, &value);
        }
        // Every other operation is in `execute`.
        _ => {}
    }
}

#[inline(always)]
fn put(files: &mut Files, wide: bool, d: Slot, mask: u32, value: &Lanes<u64>) {
    if wide {
        files.set_wide(d, mask, value);
    } else {
        files.set_narrow(d, mask, &lanes!(i => value[i] as u32));
    }
}

const fn bits(width: Width) -> u32 {
    match width {
        Width::W16 => 16,
        Width::W32 => 32,
        Width::W64 => 64,
    }
}

#[inline(always)]
fn extend(a: &Lanes<u32>) -> Lanes<u64> {
    lanes!(i => u64::from(a[i]))
}

/// Extends the low `bits` to 64.
#[inline(always)]
fn resize(a: &Lanes<u64>, bits: u32, signed: bool) -> Lanes<u64> {
    let shift = 64 - bits;
    if signed {
        lanes!(i => (((a[i] << shift) as i64) >> shift) as u64)
    } else {
        lanes!(i => a[i] << shift >> shift)
    }
}

#[inline(always)]
fn canonical(value: f32) -> u32 {
    if value.is_nan() { 0x7fff_ffff } else { value.to_bits() }
}

#[inline(always)]
fn quick(op: Quick, a: &Lanes<u32>, b: &Lanes<u32>) -> Lanes<u32> {
    let float = f32::from_bits;
    match op {
        Quick::Add => lanes!(i => canonical(float(a[i]) + float(b[i]))),
        Quick::Sub => lanes!(i => canonical(float(a[i]) - float(b[i]))),
        Quick::Mul => lanes!(i => canonical(float(a[i]) * float(b[i]))),
        Quick::Min => lanes!(i => least(a[i], b[i], 0)),
        Quick::Max => lanes!(i => least(a[i], b[i], !0)),
    }
}

/// `min`, or `max` with `flip` all ones: numbers before NaN, −0 below +0.
#[inline(always)]
fn least(a: u32, b: u32, flip: u32) -> u32 {
    // Ascending as signed integers in the order of the floats.
    let key = |bits: u32| (bits ^ ((bits as i32 >> 31) as u32 >> 1) ^ flip) as i32;
    let nan = |bits: u32| bits & 0x7fff_ffff > 0x7f80_0000;
    let smaller = if key(a) < key(b) { a } else { b };
    let number = if nan(a) { b } else { smaller };
    let number = if nan(b) { a } else { number };
    if nan(a) && nan(b) { 0x7fff_ffff } else { number }
}

#[inline(always)]
fn combine(op: Combine, a: u32, b: u32) -> u32 {
    match op {
        Combine::And => a & b,
        Combine::Or => a | b,
        Combine::Xor => a ^ b,
    }
}

#[inline(always)]
fn compare(
    files: &mut Files,
    program: &Program,
    what: Compared,
    a: Slot,
    b: Slot,
    outcome: Outcome,
    mask: u32,
) {
    macro_rules! bits {
        ($i:ident => $e:expr) => {{
            let mut r = 0u32;
            for $i in 0..32 {
                r |= u32::from($e) << $i;
            }
            r
        }};
    }
    macro_rules! ordered {
        ($compare:expr, $a:ident, $b:ident, $t:ty) => {
            match $compare {
                Compare::Eq => bits!(i => $a[i] == $b[i]),
                Compare::Ne => bits!(i => $a[i] != $b[i]),
                Compare::Lt => bits!(i => ($a[i] as $t) < ($b[i] as $t)),
                Compare::Le => bits!(i => ($a[i] as $t) <= ($b[i] as $t)),
                Compare::Gt => bits!(i => ($a[i] as $t) > ($b[i] as $t)),
                _ => bits!(i => ($a[i] as $t) >= ($b[i] as $t)),
            }
        };
    }
    let found = match what {
        Compared::Integer { compare, signed, width: Width::W32 } => {
            let (a, b) = (files.narrow(program, a), files.narrow(program, b));
            if signed { ordered!(compare, a, b, i32) } else { ordered!(compare, a, b, u32) }
        }
        Compared::Integer { compare, signed, width: Width::W64 } => {
            let (a, b) = (files.wide(program, a), files.wide(program, b));
            if signed { ordered!(compare, a, b, i64) } else { ordered!(compare, a, b, u64) }
        }
        Compared::Integer { compare, signed, width: Width::W16 } => {
            let a = integer::cut16(files.narrow(program, a));
            let b = integer::cut16(files.narrow(program, b));
            if signed { ordered!(compare, a, b, i16) } else { ordered!(compare, a, b, u16) }
        }
        Compared::F32 { compare } => {
            let (a, b) = (files.narrow(program, a), files.narrow(program, b));
            let float = f32::from_bits;
            macro_rules! float {
                ($op:tt) => {
                    bits!(i => float(a[i]) $op float(b[i]))
                };
            }
            let nan = || bits!(i => float(a[i]).is_nan() | float(b[i]).is_nan());
            match compare {
                Compare::Eq => float!(==),
                Compare::Ne => float!(!=) & !nan(),
                Compare::Lt => float!(<),
                Compare::Le => float!(<=),
                Compare::Gt => float!(>),
                Compare::Ge => float!(>=),
                Compare::Equ => float!(==) | nan(),
                Compare::Neu => float!(!=),
                Compare::Ltu => !float!(>=),
                Compare::Leu => !float!(>),
                Compare::Gtu => !float!(<=),
                Compare::Geu => !float!(<),
                Compare::Num => !nan(),
                Compare::Nan => nan(),
            }
        }
        Compared::Float { compare, ty, flush } => {
            let wide = ty.bits() == 64;
            let (a, b) = if wide {
                (*files.wide(program, a), *files.wide(program, b))
            } else {
                (extend(files.narrow(program, a)), extend(files.narrow(program, b)))
            };
            let mut found = 0;
            each(mask, |i| found |= u32::from(numerics::compare(compare, ty, flush, a[i], b[i])) << i);
            found
        }
    };
    match outcome {
        Outcome::Predicates { p, q, combine: with } => {
            let (first, second) = match with {
                None => (found, !found),
                Some((op, c)) => {
                    let c = files.test(c);
                    (combine(op, found, c), combine(op, !found, c))
                }
            };
            files.set_predicate(p, mask, first);
            if q != NONE {
                files.set_predicate(q, mask, second);
            }
        }
        Outcome::Value { d, ones } => {
            let value = lanes!(i => if found >> i & 1 == 1 { ones } else { 0 });
            files.set_narrow(d, mask, &value);
        }
    }
}
