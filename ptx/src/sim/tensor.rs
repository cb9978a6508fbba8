//! Matrix instructions: ldmatrix, stmatrix, movmatrix, mma. PTX ISA 8.4, section 9.7.13. What the registers of a warp
//! hold and how sums are rounded is [`crate::numerics`]'s.

use super::access::Access;
use super::exec::Exec;
use super::fault::Fault;
use super::memory::bank::{Lanes, Raw};
use super::program::{Address, Mma, Slot};
use crate::check::AccessKind;
use crate::numerics;
use crate::{Scope, Semantics, Space};

/// Most registers of one operand of `mma`.
const REGISTERS: usize = 8;

impl Exec<'_, '_> {
    /// Lanes 8i to 8i+7 point at the rows of matrix i.
    fn rows(&self, address: &Address, count: u8) -> (u32, Lanes<u64>) {
        (!0 >> (32 - 8 * u32::from(count)), self.addresses(address))
    }

    pub(super) fn load_matrix(
        &mut self,
        pc: u32,
        class: u32,
        transpose: bool,
        count: u8,
        d: &[Slot; 4],
        address: &Address,
    ) -> Result<(), Box<Fault>> {
        let (mask, addresses) = self.rows(address, count);
        let access = Access::new(pc, AccessKind::Load, (Semantics::Weak, Scope::Block), 16, 4);
        let mut raw: Raw = [[0; 32]; 4];
        self.read(&access, mask, Space::Shared, &addresses, &mut raw)?;
        for (index, &d) in d.iter().enumerate().take(usize::from(count)) {
            let rows = std::array::from_fn(|row| {
                let lane = 8 * index + row;
                std::array::from_fn(|column| (raw[column / 2][lane] >> (16 * (column % 2))) as u16)
            });
            self.warp.files.set_narrow(d, class, &numerics::load_matrix(&rows, transpose));
        }
        Ok(())
    }

    pub(super) fn store_matrix(
        &mut self,
        pc: u32,
        _class: u32,
        transpose: bool,
        count: u8,
        a: &[Slot; 4],
        address: &Address,
    ) -> Result<(), Box<Fault>> {
        let (mask, addresses) = self.rows(address, count);
        let mut raw: Raw = [[0; 32]; 4];
        for (index, &a) in a.iter().enumerate().take(usize::from(count)) {
            let rows = numerics::store_matrix(self.warp.files.narrow(self.launch.program, a), transpose);
            for (row, elements) in rows.iter().enumerate() {
                for (column, &element) in elements.iter().enumerate() {
                    raw[column / 2][8 * index + row] |= u32::from(element) << (16 * (column % 2));
                }
            }
        }
        let access = Access::new(pc, AccessKind::Store, (Semantics::Weak, Scope::Block), 16, 4);
        self.write(&access, mask, Space::Shared, &addresses, &raw)
    }

    pub(super) fn move_matrix(&mut self, class: u32, d: Slot, a: Slot) {
        let value = numerics::move_matrix(self.warp.files.narrow(self.launch.program, a));
        self.warp.files.set_narrow(d, class, &value);
    }

    pub(super) fn mma(&mut self, pc: u32, class: u32, mma: &Mma) -> Result<(), Box<Fault>> {
        let all = self.launch.threads - 32 * self.warp.index;
        if class != !0 {
            let why = format!("mma needs 32 lanes, the warp has {}", all.min(class.count_ones()));
            return Err(Box::new(Fault::Operand { site: self.site(pc, class.trailing_zeros()), why }));
        }
        let files = &self.warp.files;
        let fetch = |slots: &[Slot]| {
            let mut values = [[0; 32]; REGISTERS];
            for (value, &slot) in values.iter_mut().zip(slots) {
                *value = *files.narrow(self.launch.program, slot);
            }
            values
        };
        let (a, b, c) = (fetch(&mma.a), fetch(&mma.b), fetch(&mma.c));
        let mut d = [[0; 32]; REGISTERS];
        let known = numerics::mma(
            mma.shape,
            mma.types,
            self.launch.config.architecture,
            &a[..mma.a.len()],
            &b[..mma.b.len()],
            &c[..mma.c.len()],
            &mut d[..mma.d.len()],
        );
        if !known {
            let why = String::from("this shape or these types of mma are not simulated");
            return Err(Box::new(Fault::Operand { site: self.site(pc, 0), why }));
        }
        for (&slot, value) in mma.d.iter().zip(&d) {
            self.warp.files.set_narrow(slot, class, value);
        }
        self.worker.counters.mma(mma.shape);
        Ok(())
    }
}
