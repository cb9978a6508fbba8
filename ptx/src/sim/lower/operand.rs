//! Operands to slots.

use super::Lowering;
use crate::sim::memory::bank::Lanes;
use crate::sim::program::{Address, CONSTANT, Predicate, Program, Slot};
use crate::{Kernel, Operand, Register, Special, Type};
use std::collections::BTreeMap;

/// Where a virtual register lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A narrow slot, and the bits of the register's type.
    Narrow(Slot, u32),
    Wide(Slot),
    Predicate(Slot),
    /// `.b128`: no instruction of the simulated architectures needs one.
    Nowhere,
}

/// The three files and the constants of a kernel in the making.
pub(super) struct Files<'a> {
    kernel: &'a Kernel,
    places: Vec<Place>,
    narrow: Slot,
    wide: Slot,
    predicates: Slot,
    narrow_constants: BTreeMap<u32, Slot>,
    wide_constants: BTreeMap<u64, Slot>,
    specials: Vec<(Special, Slot)>,
}

impl<'a> Files<'a> {
    pub(super) fn new(kernel: &'a Kernel) -> Self {
        let (mut narrow, mut wide, mut predicates) = (0, 0, 0);
        let take = |counter: &mut Slot| {
            *counter += 1;
            *counter - 1
        };
        let places = kernel
            .registers
            .iter()
            .map(|ty| match ty.bits() {
                1 => Place::Predicate(take(&mut predicates)),
                64 => Place::Wide(take(&mut wide)),
                128 => Place::Nowhere,
                bits => Place::Narrow(take(&mut narrow), bits),
            })
            .collect();
        Self {
            kernel,
            places,
            narrow,
            wide,
            predicates,
            narrow_constants: BTreeMap::new(),
            wide_constants: BTreeMap::new(),
            specials: Vec::new(),
        }
    }

    /// The predicate that is true in every lane: it stands behind all others, see [`Files::finish`].
    pub(super) fn always(&self) -> Predicate {
        Predicate { slot: self.predicates, flip: 0 }
    }

    pub(super) fn place(&self, register: Register) -> Result<Place, String> {
        match self.places.get(register.0 as usize) {
            None => Err(format!("register number {} is not declared", register.0)),
            Some(Place::Nowhere) => Err(format!("128-bit register {}: not simulated", self.name(register))),
            Some(&place) => Ok(place),
        }
    }

    pub(super) fn name(&self, register: Register) -> String {
        let name = self.kernel.register_names.get(register.0 as usize).cloned();
        name.unwrap_or_else(|| format!("register number {}", register.0))
    }

    pub(super) fn predicate(&self, register: Register) -> Result<Slot, String> {
        match self.place(register)? {
            Place::Predicate(slot) => Ok(slot),
            _ => Err(format!("{} is not a predicate", self.name(register))),
        }
    }

    pub(super) fn narrow_constant(&mut self, value: u32) -> Slot {
        let next = CONSTANT | self.narrow_constants.len() as u32;
        *self.narrow_constants.entry(value).or_insert(next)
    }

    pub(super) fn wide_constant(&mut self, value: u64) -> Slot {
        let next = CONSTANT | self.wide_constants.len() as u32;
        *self.wide_constants.entry(value).or_insert(next)
    }

    /// The slot that holds a special register from the thread's start.
    fn special(&mut self, special: Special) -> Result<Slot, String> {
        if matches!(special, Special::Clock | Special::Clock64 | Special::Globaltimer) {
            return Err(String::from("clocks are read by mov alone"));
        }
        if let Some((_, slot)) = self.specials.iter().find(|(known, _)| *known == special) {
            return Ok(*slot);
        }
        let slot = self.narrow;
        self.narrow += 1;
        self.specials.push((special, slot));
        Ok(slot)
    }

    pub(super) fn finish(self, program: &mut Program) {
        fn lanes<T: Copy + Default>(constants: BTreeMap<T, Slot>) -> Vec<Lanes<T>> {
            let mut all = vec![[T::default(); 32]; constants.len()];
            for (value, slot) in constants {
                all[(slot & !CONSTANT) as usize] = [value; 32];
            }
            all
        }
        program.narrow_constants = lanes(self.narrow_constants);
        program.wide_constants = lanes(self.wide_constants);
        program.narrow_slots = self.narrow as usize;
        program.wide_slots = self.wide as usize;
        program.predicate_slots = self.predicates as usize + 1;
        program.specials = self.specials;
    }
}

/// Where a general operand's lanes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Narrow(Slot),
    Wide(Slot),
}

impl Lowering<'_> {
    /// A source of exactly `bits` (8, 16 or 32 in a narrow slot).
    pub(super) fn narrow(&mut self, operand: Operand, bits: u32) -> Result<Slot, String> {
        match self.source(operand, bits)? {
            Source::Narrow(slot) => Ok(slot),
            Source::Wide(_) => Err(format!("a 64-bit operand where one of {bits} bits belongs")),
        }
    }

    /// A source of 64 bits.
    pub(super) fn wide(&mut self, operand: Operand) -> Result<Slot, String> {
        match self.source(operand, 64)? {
            Source::Wide(slot) => Ok(slot),
            Source::Narrow(_) => Err(String::from("a 32-bit operand where one of 64 bits belongs")),
        }
    }

    /// A source whose register has at least `bits`; constants have exactly these.
    pub(super) fn source(&mut self, operand: Operand, bits: u32) -> Result<Source, String> {
        let constant = |files: &mut Files<'_>, value: u64| match bits {
            64 => Source::Wide(files.wide_constant(value)),
            32 => Source::Narrow(files.narrow_constant(value as u32)),
            _ => Source::Narrow(files.narrow_constant((value & ((1 << bits) - 1)) as u32)),
        };
        match operand {
            Operand::Register(register) => match self.files.place(register)? {
                Place::Narrow(slot, have) if have >= bits => Ok(Source::Narrow(slot)),
                Place::Wide(slot) => Ok(Source::Wide(slot)),
                _ => Err(format!("{} does not hold {bits} bits", self.files.name(register))),
            },
            Operand::Immediate(value) => Ok(constant(&mut self.files, value)),
            Operand::Special(special) => {
                let slot = self.files.special(special)?;
                if bits <= 32 {
                    Ok(Source::Narrow(slot))
                } else {
                    Err(String::from("the special register has 32 bits"))
                }
            }
            Operand::Address(symbol, offset) => {
                let (address, _) = self.symbol(symbol)?;
                Ok(constant(&mut self.files, address.wrapping_add_signed(offset)))
            }
        }
    }

    /// A destination whose register holds at least `bits`; the second value is the register's own width.
    pub(super) fn destination(&self, register: Register, bits: u32) -> Result<(Source, u32), String> {
        match self.files.place(register)? {
            Place::Narrow(slot, have) if have >= bits => Ok((Source::Narrow(slot), have)),
            Place::Wide(slot) => Ok((Source::Wide(slot), 64)),
            _ => Err(format!("{} does not hold {bits} bits", self.files.name(register))),
        }
    }

    /// A destination of exactly the narrow file.
    pub(super) fn narrow_destination(&self, register: Register, bits: u32) -> Result<Slot, String> {
        match self.destination(register, bits)? {
            (Source::Narrow(slot), have) if have == bits => Ok(slot),
            _ => Err(format!("the destination {} does not have {bits} bits", self.files.name(register))),
        }
    }

    pub(super) fn wide_destination(&self, register: Register) -> Result<Slot, String> {
        match self.destination(register, 64)? {
            (Source::Wide(slot), _) => Ok(slot),
            (Source::Narrow(_), _) => {
                Err(format!("the destination {} does not have 64 bits", self.files.name(register)))
            }
        }
    }

    /// A source in the file of a type.
    pub(super) fn typed(&mut self, operand: Operand, ty: Type) -> Result<Slot, String> {
        match ty.bits() {
            64 => self.wide(operand),
            bits @ (8 | 16 | 32) => self.narrow(operand, bits),
            _ => Err(format!("type {ty:?} is not simulated here")),
        }
    }

    /// A destination in the file of a type.
    pub(super) fn typed_destination(&self, register: Register, ty: Type) -> Result<Slot, String> {
        match ty.bits() {
            64 => self.wide_destination(register),
            bits @ (8 | 16 | 32) => self.narrow_destination(register, bits),
            _ => Err(format!("type {ty:?} is not simulated here")),
        }
    }

    pub(super) fn predicate(&mut self, operand: Operand) -> Result<Predicate, String> {
        match operand {
            Operand::Register(register) => Ok(Predicate { slot: self.files.predicate(register)?, flip: 0 }),
            Operand::Immediate(value) => {
                let always = self.files.always();
                Ok(Predicate { flip: if value & 1 == 1 { 0 } else { !0 }, ..always })
            }
            Operand::Special(_) | Operand::Address(..) => Err(String::from("the operand is not a predicate")),
        }
    }

    pub(super) fn address(&mut self, address: crate::Address) -> Result<Address, String> {
        if let Operand::Register(_) = address.base {
            return Ok(match self.source(address.base, 32)? {
                Source::Narrow(base) => Address { base, wide: false, offset: address.offset },
                Source::Wide(base) => Address { base, wide: true, offset: address.offset },
            });
        }
        Ok(Address { base: self.wide(address.base)?, wide: true, offset: address.offset })
    }
}
