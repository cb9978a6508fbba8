//! Loads, stores, atomics and asynchronous copies: a warp's addresses, checked and carried out.
//!
//! Every access goes through [`Exec::read`], [`Exec::write`] or [`Exec::atomic`] in this order: bounds and alignment,
//! races (`crate::check`), counts (`crate::count`), then the bytes and their written bits. Whole-warp accesses inside one
//! page of one allocation are one pass.

use super::exec::Exec;
use super::fault::Fault;
use super::memory::bank::{Lanes, PAGE_BYTES, Page, Private, Raw, each, gather, scatter};
use super::memory::{LOCAL_RESERVED, SHARED_RESERVED, resolve, space_name};
use super::program::{Address, NONE, Predicate, Rmw, Slot, Vector};
use super::rmw::modify;
use crate::check::{self, AccessKind};
use crate::{Scope, Semantics, Space};

/// One instruction's access of memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub inner: check::Access,
    /// For messages.
    name: &'static str,
}

impl Access {
    /// An access of `bytes` a lane in `elements`.
    pub(super) fn new(
        pc: u32,
        kind: AccessKind,
        order: (Semantics, Scope),
        bytes: u32,
        elements: u32,
    ) -> Self {
        let name = match kind {
            AccessKind::Load => "load",
            AccessKind::Store => "store",
            AccessKind::Atomic => "atomic",
            AccessKind::Copy => "asynchronous copy",
        };
        let (semantics, scope) = order;
        Self { inner: check::Access { instruction: pc, kind, semantics, scope, bytes, elements }, name }
    }
}

/// Whether two lanes store the same bytes.
fn same(raw: &Raw, a: u32, b: u32) -> bool {
    raw.iter().all(|words| words[a as usize] == words[b as usize])
}

/// A part of an access: lanes within one page of device memory.
struct Piece {
    lanes: u32,
    /// Index of the allocation.
    allocation: usize,
    /// Where the page begins in it.
    start: u64,
    /// Offsets in the page.
    offsets: Lanes<u32>,
}

impl<'l> Exec<'_, 'l> {
    /// Addresses of all lanes.
    #[inline]
    pub(super) fn addresses(&self, address: &Address) -> Lanes<u64> {
        let (program, files) = (self.launch.program, &self.warp.files);
        let mut lanes: Lanes<u64> = [0; 32];
        if address.wide {
            let base = files.wide(program, address.base);
            for lane in 0..32 {
                lanes[lane] = base[lane].wrapping_add_signed(address.offset);
            }
        } else {
            let base = files.narrow(program, address.base);
            for lane in 0..32 {
                lanes[lane] = u64::from(base[lane].wrapping_add(address.offset as u32));
            }
        }
        lanes
    }

    pub(super) fn load(
        &mut self,
        pc: u32,
        active: u32,
        space: Space,
        order: (Semantics, Scope),
        address: &Address,
        vector: &Vector,
    ) -> Result<(), Box<Fault>> {
        let access = Access::new(pc, AccessKind::Load, order, vector.bytes(), vector.count.into());
        let addresses = self.addresses(address);
        let mut raw: Raw = [[0; 32]; 4];
        self.read(&access, active, space, &addresses, &mut raw)?;
        for (element, &slot) in vector.slots.iter().enumerate().take(vector.count.into()) {
            if slot != NONE {
                self.fill(active, vector, element, slot, &raw);
            }
        }
        Ok(())
    }

    /// Moves one loaded element into its register.
    fn fill(&mut self, active: u32, vector: &Vector, element: usize, slot: Slot, raw: &Raw) {
        let size = usize::from(vector.size);
        if size == 4 && !vector.wide {
            self.warp.files.set_narrow(slot, active, &raw[element]);
            return;
        }
        let at = element * size;
        let bits = 8 * size as u32;
        let mut value: Lanes<u64> = [0; 32];
        for lane in 0..32 {
            let low = raw[at / 4][lane] >> (8 * (at % 4));
            let high = if size == 8 { raw[at / 4 + 1][lane] } else { 0 };
            let bytes = u64::from(high) << 32 | u64::from(low);
            value[lane] = if vector.extend == 0 {
                bytes & (!0 >> (64 - bits))
            } else {
                let shift = 64 - bits;
                let signed = (((bytes << shift) as i64) >> shift) as u64;
                signed & (!0 >> (64 - u32::from(vector.extend)))
            };
        }
        if vector.wide {
            self.warp.files.set_wide(slot, active, &value);
        } else {
            let mut narrow: Lanes<u32> = [0; 32];
            for lane in 0..32 {
                narrow[lane] = value[lane] as u32;
            }
            self.warp.files.set_narrow(slot, active, &narrow);
        }
    }

    pub(super) fn store(
        &mut self,
        pc: u32,
        active: u32,
        space: Space,
        order: (Semantics, Scope),
        address: &Address,
        vector: &Vector,
    ) -> Result<(), Box<Fault>> {
        let (program, files) = (self.launch.program, &self.warp.files);
        let mut raw: Raw = [[0; 32]; 4];
        let size = usize::from(vector.size);
        for (element, &slot) in vector.slots.iter().enumerate().take(vector.count.into()) {
            let at = element * size;
            if size == 8 {
                let value = files.wide(program, slot);
                for lane in 0..32 {
                    raw[at / 4][lane] = value[lane] as u32;
                    raw[at / 4 + 1][lane] = (value[lane] >> 32) as u32;
                }
                continue;
            }
            let keep = !0u32 >> (32 - 8 * size);
            let shift = 8 * (at % 4);
            if vector.wide {
                let value = files.wide(program, slot);
                for lane in 0..32 {
                    raw[at / 4][lane] |= (value[lane] as u32 & keep) << shift;
                }
            } else {
                let value = files.narrow(program, slot);
                for lane in 0..32 {
                    raw[at / 4][lane] |= (value[lane] & keep) << shift;
                }
            }
        }
        let access = Access::new(pc, AccessKind::Store, order, vector.bytes(), vector.count.into());
        let addresses = self.addresses(address);
        self.write(&access, active, space, &addresses, &raw)
    }

    /// Reads memory of a space into raw words.
    pub(super) fn read(
        &mut self,
        access: &Access,
        active: u32,
        space: Space,
        addresses: &Lanes<u64>,
        raw: &mut Raw,
    ) -> Result<(), Box<Fault>> {
        let bytes = access.inner.bytes;
        match space {
            Space::Generic => self.by_window(active, addresses, |exec, lanes, space, addresses| {
                exec.read(access, lanes, space, addresses, raw)
            }),
            Space::Global => {
                self.check_global(access, active, addresses)?;
                self.pieces(active, addresses, |_, piece, page| {
                    let Some(page) = page else { return Err(piece.lanes.trailing_zeros()) };
                    gather(&page, piece.lanes, &piece.offsets, bytes, raw)
                })
                .map_err(|lane| self.uninitialized(access, space, lane, addresses))
            }
            Space::Shared => {
                let offsets = self.check_shared(access, active, addresses, None)?;
                gather(&self.block.memory, active, &offsets, bytes, raw)
                    .map_err(|lane| self.uninitialized(access, space, lane, addresses))
            }
            Space::Local => {
                let offsets = self.check_local(access, active, addresses)?;
                gather(&self.block.local, active, &offsets, bytes, raw)
                    .map_err(|lane| self.uninitialized(access, space, lane, addresses))
            }
            Space::Param | Space::Const => {
                let (bank, end) = match space {
                    Space::Param => (&self.launch.params, self.launch.program.param_bytes),
                    _ => (self.launch.constants, self.launch.constant_bytes),
                };
                let offsets = self.check_bank(access, active, space, addresses, 0, end)?;
                gather(bank, active, &offsets, bytes, raw)
                    .map_err(|lane| self.uninitialized(access, space, lane, addresses))
            }
        }
    }

    /// Writes raw words to memory of a space.
    pub(super) fn write(
        &mut self,
        access: &Access,
        active: u32,
        space: Space,
        addresses: &Lanes<u64>,
        raw: &Raw,
    ) -> Result<(), Box<Fault>> {
        let bytes = access.inner.bytes;
        match space {
            Space::Generic => self.by_window(active, addresses, |exec, lanes, space, addresses| {
                exec.write(access, lanes, space, addresses, raw)
            }),
            Space::Global => {
                self.bounds_global(access, active, addresses)?;
                if let Err(hazard) = self.block.check.global(
                    &mut self.worker.global,
                    self.warp.index,
                    active,
                    &access.inner,
                    addresses,
                    |a, b| same(raw, a, b),
                ) {
                    return Err(Box::new(self.launch.hazard(*hazard)));
                }
                self.worker.counters.global(active, addresses, bytes, true);
                let written = self.pieces(active, addresses, |exec, piece, _| {
                    if let Some(mut page) = exec.page(piece) {
                        scatter(&mut page, piece.lanes, &piece.offsets, bytes, raw);
                    }
                    Ok(())
                });
                written.map_err(|lane: u32| self.out_of_bounds(access, space, lane, addresses, bytes))
            }
            Space::Shared => {
                let offsets = self.check_shared(access, active, addresses, Some(raw))?;
                scatter(&mut self.block.memory, active, &offsets, bytes, raw);
                Ok(())
            }
            Space::Local => {
                let offsets = self.check_local(access, active, addresses)?;
                scatter(&mut self.block.local, active, &offsets, bytes, raw);
                Ok(())
            }
            Space::Param | Space::Const => Err(Box::new(Fault::ReadOnly {
                site: self.site(access.inner.instruction, active.trailing_zeros()),
                access: access.name,
                space: space_name(space),
            })),
        }
    }

    /// Splits generic addresses by window.
    fn by_window(
        &mut self,
        active: u32,
        addresses: &Lanes<u64>,
        mut f: impl FnMut(&mut Self, u32, Space, &Lanes<u64>) -> Result<(), Box<Fault>>,
    ) -> Result<(), Box<Fault>> {
        let mut rest = active;
        while rest != 0 {
            let (space, _) = resolve(addresses[rest.trailing_zeros() as usize]);
            let mut lanes = 0u32;
            let mut within = *addresses;
            each(rest, |lane| {
                let (found, offset) = resolve(addresses[lane]);
                if found == space {
                    lanes |= 1 << lane;
                    within[lane] = offset;
                }
            });
            f(self, lanes, space, &within)?;
            rest &= !lanes;
        }
        Ok(())
    }

    /// Splits an access of device memory, already in bounds, by page.
    fn pieces(
        &mut self,
        active: u32,
        addresses: &Lanes<u64>,
        mut f: impl FnMut(&Self, &Piece, Option<&'l Page>) -> Result<(), u32>,
    ) -> Result<(), u32> {
        let memory = self.launch.memory;
        let mut rest = active;
        while rest != 0 {
            let lane = rest.trailing_zeros();
            let first = addresses[lane as usize];
            let Some(allocation) = self.allocation(first) else { return Err(lane) };
            let Some(found) = memory.get(allocation) else { return Err(lane) };
            let start = (first - found.base()) & !(PAGE_BYTES - 1);
            let base = found.base() + start;
            let length = (found.bytes() - start).min(PAGE_BYTES);
            let mut piece = Piece { lanes: 0, allocation, start, offsets: [0; 32] };
            for (lane, address) in addresses.iter().enumerate() {
                let offset = address.wrapping_sub(base);
                piece.offsets[lane] = offset as u32;
                piece.lanes |= u32::from(offset < length) << lane;
            }
            piece.lanes &= rest;
            f(self, &piece, found.page(start))?;
            rest &= !piece.lanes;
        }
        Ok(())
    }

    /// The page of a piece, made if nothing was written there yet.
    fn page(&self, piece: &Piece) -> Option<&'l Page> {
        self.launch.memory.get(piece.allocation)?.page_or_new(piece.start)
    }

    /// The allocation that holds an address, the last one first.
    #[inline]
    fn allocation(&mut self, address: u64) -> Option<usize> {
        let memory = self.launch.memory;
        let last = self.warp.allocation;
        if memory.get(last).is_some_and(|allocation| allocation.holds(address, 1)) {
            return Some(last);
        }
        self.warp.allocation = memory.find(address)?;
        Some(self.warp.allocation)
    }

    /// Bounds and alignment of an access of device memory.
    fn bounds_global(
        &mut self,
        access: &Access,
        active: u32,
        addresses: &Lanes<u64>,
    ) -> Result<(), Box<Fault>> {
        let bytes = access.inner.bytes;
        let lead = addresses[active.trailing_zeros() as usize % 32];
        let (mut low, mut high, mut bits) = (lead, lead, 0);
        for (lane, &address) in addresses.iter().enumerate() {
            let address = if active >> lane & 1 == 1 { address } else { lead };
            low = low.min(address);
            high = high.max(address);
            bits |= address;
        }
        let inside = self.allocation(low).and_then(|index| self.launch.memory.get(index));
        let inside =
            inside.is_some_and(|allocation| allocation.holds(low, (high - low).saturating_add(bytes.into())));
        if inside && bits & u64::from(bytes - 1) == 0 {
            return Ok(());
        }
        for lane in (0..32).filter(|lane| active >> lane & 1 == 1) {
            let address = addresses[lane as usize];
            if address & u64::from(bytes - 1) != 0 {
                return Err(self.misaligned(access, Space::Global, lane, address));
            }
            let holds =
                |allocation: &super::memory::global::Allocation| allocation.holds(address, bytes.into());
            if !self.allocation(address).and_then(|index| self.launch.memory.get(index)).is_some_and(holds) {
                return Err(self.out_of_bounds(access, Space::Global, lane, addresses, bytes));
            }
        }
        Ok(())
    }

    /// All checks and counts of a read of device memory.
    fn check_global(
        &mut self,
        access: &Access,
        active: u32,
        addresses: &Lanes<u64>,
    ) -> Result<(), Box<Fault>> {
        self.bounds_global(access, active, addresses)?;
        let check = &mut self.block.check;
        if let Err(hazard) = check.global(
            &mut self.worker.global,
            self.warp.index,
            active,
            &access.inner,
            addresses,
            |_, _| true,
        ) {
            return Err(Box::new(self.launch.hazard(*hazard)));
        }
        self.worker.counters.global(active, addresses, access.inner.bytes, access.inner.kind.writes());
        Ok(())
    }

    /// Bounds and alignment in a bank that begins at `start`.
    fn check_bank(
        &self,
        access: &Access,
        active: u32,
        space: Space,
        addresses: &Lanes<u64>,
        start: u32,
        end: u32,
    ) -> Result<Lanes<u32>, Box<Fault>> {
        let bytes = access.inner.bytes;
        let room = u64::from(end.saturating_sub(start)).wrapping_sub(u64::from(bytes)).wrapping_add(1);
        let room = if end.saturating_sub(start) < bytes { 0 } else { room };
        let mut offsets: Lanes<u32> = [0; 32];
        let mut bad = 0u32;
        for lane in 0..32 {
            let outside = addresses[lane].wrapping_sub(u64::from(start)) >= room;
            let crooked = addresses[lane] & u64::from(bytes - 1) != 0;
            offsets[lane] = addresses[lane] as u32;
            bad |= u32::from(outside | crooked) << lane;
        }
        bad &= active;
        if bad == 0 {
            return Ok(offsets);
        }
        let lane = bad.trailing_zeros();
        let address = addresses[lane as usize];
        if address.wrapping_sub(u64::from(start)) < room {
            return Err(self.misaligned(access, space, lane, address));
        }
        Err(self.out_of_bounds(access, space, lane, addresses, bytes))
    }

    /// All checks and counts of an access of shared memory; `values` of a store.
    fn check_shared(
        &mut self,
        access: &Access,
        active: u32,
        addresses: &Lanes<u64>,
        values: Option<&Raw>,
    ) -> Result<Lanes<u32>, Box<Fault>> {
        let end = self.launch.shared_end;
        let offsets = self.check_bank(access, active, Space::Shared, addresses, SHARED_RESERVED, end)?;
        if self.launch.config.checks {
            let equal = |a, b| values.is_none_or(|raw| same(raw, a, b));
            if let Err(hazard) =
                self.block.check.shared(self.warp.index, active, &access.inner, &offsets, equal)
            {
                return Err(Box::new(self.launch.hazard(*hazard)));
            }
        }
        self.worker.counters.shared(active, &offsets, access.inner.bytes);
        Ok(offsets)
    }

    fn check_local(
        &self,
        access: &Access,
        active: u32,
        addresses: &Lanes<u64>,
    ) -> Result<Lanes<u32>, Box<Fault>> {
        let end = self.launch.program.local_bytes;
        let mut offsets = self.check_bank(access, active, Space::Local, addresses, LOCAL_RESERVED, end)?;
        let stride = self.launch.local_stride();
        for (lane, offset) in offsets.iter_mut().enumerate() {
            *offset = offset.wrapping_add((32 * self.warp.index + lane as u32).wrapping_mul(stride));
        }
        Ok(offsets)
    }

    pub(super) fn atomic(&mut self, pc: u32, active: u32, rmw: &Rmw) -> Result<(), Box<Fault>> {
        let order = (rmw.semantics, rmw.scope);
        let access = Access::new(pc, AccessKind::Atomic, order, rmw.ty.bits() / 8, 1);
        let addresses = self.addresses(&rmw.address);
        self.atomic_in(&access, active, rmw.space, &addresses, rmw)
    }

    fn atomic_in(
        &mut self,
        access: &Access,
        active: u32,
        space: Space,
        addresses: &Lanes<u64>,
        rmw: &Rmw,
    ) -> Result<(), Box<Fault>> {
        let mut old: Lanes<u64> = [0; 32];
        let operand = |exec: &Self, slot: Slot, lane: usize| -> u64 {
            let (files, program) = (&exec.warp.files, exec.launch.program);
            match (slot, rmw.wide) {
                (NONE, _) => 0,
                (slot, true) => files.wide(program, slot)[lane],
                (slot, false) => files.narrow(program, slot)[lane].into(),
            }
        };
        match space {
            Space::Generic => {
                return self.by_window(active, addresses, |exec, lanes, space, addresses| {
                    exec.atomic_in(access, lanes, space, addresses, rmw)
                });
            }
            Space::Global => {
                self.check_global(access, active, addresses)?;
                self.pieces(active, addresses, |exec, piece, page| {
                    let Some(mut page) = page else { return Err(piece.lanes.trailing_zeros()) };
                    for lane in (0..32).filter(|lane| piece.lanes >> lane & 1 == 1) {
                        let (b, c) = (operand(exec, rmw.b, lane), operand(exec, rmw.c, lane));
                        let now = modify(&mut page, piece.offsets[lane], rmw.op, rmw.ty, space, b, c);
                        old[lane] = now.ok_or(lane as u32)?;
                    }
                    Ok(())
                })
                .map_err(|lane| self.uninitialized(access, space, lane, addresses))?;
            }
            Space::Shared => {
                let offsets = self.check_shared(access, active, addresses, None)?;
                for lane in (0..32).filter(|lane| active >> lane & 1 == 1) {
                    let (b, c) = (operand(self, rmw.b, lane), operand(self, rmw.c, lane));
                    let memory: &mut Private = &mut self.block.memory;
                    let Some(now) = modify(memory, offsets[lane], rmw.op, rmw.ty, space, b, c) else {
                        return Err(self.uninitialized(access, space, lane as u32, addresses));
                    };
                    old[lane] = now;
                }
            }
            Space::Local | Space::Param | Space::Const => {
                return Err(Box::new(Fault::WrongSpace {
                    site: self.site(access.inner.instruction, active.trailing_zeros()),
                    address: addresses[active.trailing_zeros() as usize % 32],
                    found: space_name(space),
                    wanted: "global or shared",
                }));
            }
        }
        if rmw.d != NONE && rmw.wide {
            self.warp.files.set_wide(rmw.d, active, &old);
        } else if rmw.d != NONE {
            let mut narrow: Lanes<u32> = [0; 32];
            for lane in 0..32 {
                narrow[lane] = old[lane] as u32;
            }
            self.warp.files.set_narrow(rmw.d, active, &narrow);
        }
        Ok(())
    }

    /// `cp.async`: reads now, lands when waited for.
    #[allow(clippy::too_many_arguments, reason = "an instruction's place and operands")]
    pub(super) fn copy_async(
        &mut self,
        pc: u32,
        active: u32,
        bytes: u32,
        to: &Address,
        from: &Address,
        source_bytes: Slot,
        ignore: Option<Predicate>,
    ) -> Result<(), Box<Fault>> {
        let (to, from) = (self.addresses(to), self.addresses(from));
        let mut sources = if source_bytes == NONE {
            [bytes; 32]
        } else {
            *self.warp.files.narrow(self.launch.program, source_bytes)
        };
        let ignored = ignore.map_or(0, |p| self.warp.files.test(p));
        for lane in (0..32).filter(|lane| active >> lane & 1 == 1) {
            if ignored >> lane & 1 == 1 {
                sources[lane] = 0;
            }
            if sources[lane] > bytes {
                let why = format!("the source size {} is more than the {bytes} bytes copied", sources[lane]);
                return Err(Box::new(Fault::Operand { site: self.site(pc, lane as u32), why }));
            }
        }
        let access = Access::new(pc, AccessKind::Copy, (Semantics::Weak, Scope::Block), bytes, 1);
        let end = self.launch.shared_end;
        let offsets = self.check_bank(&access, active, Space::Shared, &to, SHARED_RESERVED, end)?;
        // Lanes by the number of bytes they read: nearly always all or nothing.
        let mut whole = 0u32;
        let mut parts = 0u32;
        each(active, |lane| {
            whole |= u32::from(sources[lane] == bytes) << lane;
            parts |= u32::from(sources[lane] != bytes && sources[lane] != 0) << lane;
        });
        if whole != 0 {
            self.bounds_global(&access, whole, &from)?;
        }
        for lane in (0..32).filter(|lane| parts >> lane & 1 == 1) {
            if from[lane] & u64::from(bytes - 1) != 0 {
                return Err(self.misaligned(&access, Space::Global, lane as u32, from[lane]));
            }
            let held = self.allocation(from[lane]).and_then(|index| self.launch.memory.get(index));
            if !held.is_some_and(|allocation| allocation.holds(from[lane], sources[lane].into())) {
                return Err(self.out_of_bounds(&access, Space::Global, lane as u32, &from, sources[lane]));
            }
        }
        let check = &mut self.block.check;
        if let Err(hazard) = check.copy_issue(
            &mut self.worker.global,
            self.warp.index,
            active,
            pc,
            bytes,
            &offsets,
            &from,
            &sources,
        ) {
            return Err(Box::new(self.launch.hazard(*hazard)));
        }
        if whole != 0 {
            self.worker.counters.global(whole, &from, bytes, false);
        }
        if parts != 0 {
            self.worker.counters.global(parts, &from, bytes, false);
        }
        self.worker.counters.shared(active, &offsets, bytes);
        let mut data: Raw = [[0; 32]; 4];
        self.pieces(whole, &from, |_, piece, page| {
            let Some(page) = page else { return Err(piece.lanes.trailing_zeros()) };
            gather(&page, piece.lanes, &piece.offsets, bytes, &mut data)
        })
        .map_err(|lane| self.uninitialized(&access, Space::Global, lane, &from))?;
        for lane in (0..32).filter(|lane| parts >> lane & 1 == 1) {
            for byte in 0..sources[lane] {
                let mut one: Raw = [[0; 32]; 4];
                let mut at = from;
                at[lane] += u64::from(byte);
                self.pieces(1 << lane, &at, |_, piece, page| {
                    let Some(page) = page else { return Err(lane as u32) };
                    gather(&page, piece.lanes, &piece.offsets, 1, &mut one)
                })
                .map_err(|lane| self.uninitialized(&access, Space::Global, lane, &at))?;
                data[byte as usize / 4][lane] |= one[0][lane] << (8 * (byte % 4));
            }
        }
        self.warp.copies.issue(active, offsets, bytes, data);
        Ok(())
    }

    fn misaligned(&self, access: &Access, space: Space, lane: u32, address: u64) -> Box<Fault> {
        Box::new(Fault::Misaligned {
            site: self.site(access.inner.instruction, lane),
            access: access.name,
            space: space_name(space),
            address,
            bytes: access.inner.bytes,
            near: self.launch.near(space, address),
        })
    }

    fn out_of_bounds(
        &self,
        access: &Access,
        space: Space,
        lane: u32,
        addresses: &Lanes<u64>,
        bytes: u32,
    ) -> Box<Fault> {
        let address = addresses[lane as usize];
        let site = self.site(access.inner.instruction, lane);
        let near = self.launch.near(space, address);
        match near {
            Some(near) if near.freed && address.wrapping_sub(near.base) < near.bytes => {
                Box::new(Fault::UseAfterFree { site, access: access.name, address, bytes, near })
            }
            near => Box::new(Fault::OutOfBounds {
                site,
                access: access.name,
                space: space_name(space),
                address,
                bytes,
                near,
            }),
        }
    }

    fn uninitialized(&self, access: &Access, space: Space, lane: u32, addresses: &Lanes<u64>) -> Box<Fault> {
        let address = addresses[lane as usize];
        Box::new(Fault::Uninitialized {
            site: self.site(access.inner.instruction, lane),
            access: access.name,
            space: space_name(space),
            address,
            near: self.launch.near(space, address),
        })
    }
}
