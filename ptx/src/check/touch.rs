//! One access of a warp against the shadow: is everything there ordered before it, and what does it leave behind?
//!
//! Three ways, from fast to exact: lanes side by side on quiet words (compared and written as one run); lanes
//! anywhere on quiet words; and lane by lane through the lists. Lanes of one instruction that meet on the same
//! bytes are a group that leaves one entry.

use super::hazard::Missing;
use super::order::lanes;
use super::shadow::{Clash, Entry, Event, Found, History, Making, PENDING, Slots, Touched};
use crate::Scope;
use std::ops::Range;

/// Whether both lanes of a store write the same bytes.
type Equal<'a> = &'a dyn Fn(u32, u32) -> bool;

impl History {
    /// The access of all lanes.
    #[inline]
    pub(super) fn access(
        &mut self,
        making: &Making,
        slots: &mut Slots,
        touched: &Touched,
        equal: impl Fn(u32, u32) -> bool,
    ) -> Result<(), Found> {
        match touched.bytes {
            16 => self.words::<4>(making, slots, touched, &equal),
            8 => self.words::<2>(making, slots, touched, &equal),
            4 => self.words::<1>(making, slots, touched, &equal),
            _ => self.narrow(making, slots, touched, &equal),
        }
    }

    fn words<const N: usize>(
        &mut self,
        making: &Making,
        slots: &mut Slots,
        touched: &Touched,
        equal: Equal,
    ) -> Result<(), Found> {
        let &Touched { mask, words, .. } = touched;
        let quiet = self.quiet;
        let writes = making.event.kind().writes();
        let apart =
            |any, (lane, &word): (usize, &u32)| any | (word ^ words[0].wrapping_add((lane * N) as u32));
        let adjacent = mask == u32::MAX && words.iter().enumerate().fold(0, apart) == 0;
        if adjacent {
            let all = words[0] as usize..words[0] as usize + 32 * N;
            let (write, read) = (&mut slots.write[all.clone()], &mut slots.read[all]);
            let busy = write.iter().zip(&*read).fold(false, |any, (&w, &r)| any | (w > quiet) | (r > quiet));
            if !busy {
                let target = if writes { write } else { read };
                for (lane, slots) in target.chunks_exact_mut(N).enumerate() {
                    slots.fill(making.slot(lane as u32));
                }
                return Ok(());
            }
        } else {
            let mut busy = false;
            for lane in lanes(mask) {
                let at = words[lane as usize] as usize;
                for (&w, &r) in slots.write[at..at + N].iter().zip(&slots.read[at..at + N]) {
                    busy |= (w > quiet) | (r > quiet);
                }
            }
            if !busy {
                return self.scatter::<N>(making, slots, touched, equal);
            }
        }
        self.busy::<N>(making, slots, touched, adjacent, equal)
    }

    /// Lanes anywhere, on quiet words.
    fn scatter<const N: usize>(
        &mut self,
        making: &Making,
        slots: &mut Slots,
        touched: &Touched,
        equal: Equal,
    ) -> Result<(), Found> {
        let &Touched { mask, words, bytes, .. } = touched;
        let target = if making.event.kind().writes() { &mut slots.write } else { &mut slots.read };
        for lane in lanes(mask) {
            let at = words[lane as usize] as usize;
            target[at..at + N].fill(making.slot(lane));
        }
        // Who does not find itself has been overwritten by a lane on the same words.
        let mut lost = 0;
        for lane in lanes(mask) {
            lost |= u32::from(target[words[lane as usize] as usize] != making.slot(lane)) << lane;
        }
        while lost != 0 {
            let lane = lost.trailing_zeros();
            let group = alike(touched, lane);
            if making.event.overwrites() {
                let differs = lanes(group & !(1 << lane)).find(|&other| !equal(lane, other));
                if let Some(other) = differs {
                    let clash = Clash::Race { first: making.event.party(lane), missing: Missing::OneWriter };
                    return Err(Found { clash, lane: other, offset: 0, bytes });
                }
            }
            let at = words[lane as usize] as usize;
            target[at..at + N].fill(self.link(making, group, 0));
            lost &= !group;
        }
        Ok(())
    }

    fn busy<const N: usize>(
        &mut self,
        making: &Making,
        slots: &mut Slots,
        touched: &Touched,
        adjacent: bool,
        equal: Equal,
    ) -> Result<(), Found> {
        let &Touched { mask, words, .. } = touched;
        if !adjacent && making.event.overwrites() {
            self.look(making, slots, touched)?;
        }
        let writes = making.event.kind().writes();
        let mut rest = mask;
        while rest != 0 {
            let lane = rest.trailing_zeros();
            let at = words[lane as usize] as usize;
            if !writes && self.read_along::<N>(making, lane, slots, at) {
                rest &= rest - 1;
                continue;
            }
            let first = if writes { slots.write[at] } else { slots.read[at] };
            let group = if self.made(making, first).is_some() { alike(touched, lane) } else { 1 << lane };
            rest &= !group;
            let (write, read) = (&mut slots.write[at..at + N], &mut slots.read[at..at + N]);
            self.group(making, group, write, read, equal)?;
        }
        Ok(())
    }

    /// The usual load of busy words: nobody writes there, other warps read too, or the lane itself did before.
    /// False: nothing was done.
    #[inline]
    fn read_along<const N: usize>(
        &mut self,
        making: &Making,
        lane: u32,
        slots: &mut Slots,
        at: usize,
    ) -> bool {
        let (write, read) = (&slots.write[at..at + N], &mut slots.read[at..at + N]);
        let old = read[0];
        let plain = write.iter().zip(&*read).all(|(&write, &read)| write <= self.quiet && read == old);
        if !plain {
            return false;
        }
        if old <= self.quiet {
            read.fill(making.slot(lane));
            return true;
        }
        let mut slot = old;
        while slot > self.quiet {
            let (tick, mask, next) = match self.entry(slot) {
                Some(&Entry::Access(_)) => (slot >> 5, 1 << (slot & 31), 0),
                Some(&Entry::Also { warp, tick, lanes, next }) => {
                    if making.plain && warp != making.event.warp {
                        slot = next;
                        continue;
                    }
                    (tick, lanes, next)
                }
                _ => return false,
            };
            match self.event(tick) {
                Some(event) if event.of_warp_of(&making.event) => {
                    return self.repeats(making, 1 << lane, &event, mask);
                }
                _ if !making.plain => return false,
                _ => slot = next,
            }
        }
        read.fill(self.link(making, 1 << lane, old));
        true
    }

    /// Whether the access need not be recorded, since an earlier one of the same lanes stands for it.
    fn repeats(&self, making: &Making, group: u32, event: &Event, mask: u32) -> bool {
        event.of_warp_of(&making.event)
            && mask & group == group
            && making.order.untold(u32::from(event.warp), event.stamp)
            && event.exposes(&making.event)
    }

    /// Lanes on the same whole words.
    fn group(
        &mut self,
        making: &Making,
        group: u32,
        write: &mut [u32],
        read: &mut [u32],
        equal: Equal,
    ) -> Result<(), Found> {
        let mut at = 0;
        while at < write.len() {
            let old = (write[at], read[at]);
            if let Some(index) = self.apart_at(old.1) {
                for lane in lanes(group) {
                    self.bytes(making, lane, index, 0..4, equal)
                        .map_err(|found| Found { offset: at as u32 * 4 + found.offset, ..found })?;
                }
                if making.event.overwrites() {
                    (write[at], read[at]) = (self.link(making, group, 0), 0);
                }
                at += 1;
                continue;
            }
            let same = (at..write.len()).take_while(|&next| (write[next], read[next]) == old).count();
            let new = self.step(making, group, old, equal).map_err(|(lane, clash)| Found {
                clash,
                lane,
                offset: at as u32 * 4,
                bytes: same as u32 * 4,
            })?;
            for next in at..at + same {
                (write[next], read[next]) = new;
            }
            at += same;
        }
        Ok(())
    }

    /// Accesses of one or two bytes a lane.
    fn narrow(
        &mut self,
        making: &Making,
        slots: &mut Slots,
        touched: &Touched,
        equal: Equal,
    ) -> Result<(), Found> {
        if making.event.overwrites() {
            self.look(making, slots, touched)?;
        }
        let writes = making.event.kind().writes();
        let mut rest = touched.mask;
        while rest != 0 {
            let lane = rest.trailing_zeros();
            let at = touched.words[lane as usize] as usize;
            if slots.write[at] <= self.quiet && slots.read[at] <= self.quiet {
                // The lanes that follow on the same word share its record, until two meet on one byte.
                let mut pairs = [(slots.write[at], slots.read[at]); 4];
                let mut lane = lane;
                while rest >> lane & 1 != 0 && touched.words[lane as usize] as usize == at {
                    let pairs = &mut pairs[touched.part(lane)];
                    if pairs[0].0 > self.quiet || pairs[0].1 > self.quiet {
                        break;
                    }
                    for (write, read) in pairs {
                        *(if writes { write } else { read }) = making.slot(lane);
                    }
                    rest &= rest - 1;
                    lane = (lane + 1) % 32;
                }
                self.bytes.push(pairs);
                let slot = self.push(Entry::Bytes(self.bytes.len() as u32 - 1)) << 5;
                (slots.write[at], slots.read[at]) = (slot, slot);
                continue;
            }
            rest &= rest - 1;
            let part = touched.part(lane);
            let index = match self.apart_at(slots.read[at]) {
                Some(index) => index,
                None if slots.write[at] & PENDING != 0 => {
                    let clash = Clash::Pending { slot: slots.write[at] };
                    return Err(Found { clash, lane, offset: 0, bytes: touched.bytes });
                }
                None => {
                    self.bytes.push([(slots.write[at], slots.read[at]); 4]);
                    let index = self.bytes.len() as u32 - 1;
                    let slot = self.push(Entry::Bytes(index)) << 5;
                    (slots.write[at], slots.read[at]) = (slot, slot);
                    index
                }
            };
            self.bytes(making, lane, index, part, equal)?;
        }
        Ok(())
    }

    /// One lane and some bytes of a word whose bytes are apart.
    fn bytes(
        &mut self,
        making: &Making,
        lane: u32,
        index: u32,
        part: Range<usize>,
        equal: Equal,
    ) -> Result<(), Found> {
        let quiet = self.quiet;
        let pairs = &mut self.bytes[index as usize][part.clone()];
        if pairs.iter().all(|&(write, read)| write <= quiet && read <= quiet) {
            let writes = making.event.kind().writes();
            for (write, read) in pairs {
                *(if writes { write } else { read }) = making.slot(lane);
            }
            return Ok(());
        }
        let mut byte = part.start;
        while byte < part.end {
            let pairs = self.bytes[index as usize];
            let old = pairs[byte];
            let same = pairs[byte..part.end].iter().take_while(|pair| **pair == old).count();
            let new = self.step(making, 1 << lane, old, equal).map_err(|(lane, clash)| Found {
                clash,
                lane,
                offset: (byte - part.start) as u32,
                bytes: same as u32,
            })?;
            self.bytes[index as usize][byte..byte + same].fill(new);
            byte += same;
        }
        Ok(())
    }

    /// The checks of a store without its traces. Lanes of one store may hit the same bytes; each is compared with
    /// what lay there before the instruction, and so all look before the first one writes.
    fn look(&self, making: &Making, slots: &Slots, touched: &Touched) -> Result<(), Found> {
        let all_equal: Equal = &|_, _| true;
        for lane in lanes(touched.mask) {
            let part = touched.part(lane);
            let first = touched.words[lane as usize] as usize;
            for word in 0..touched.bytes.div_ceil(4) as usize {
                let (write, read) = (slots.write[first + word], slots.read[first + word]);
                if write <= self.quiet && read <= self.quiet {
                    continue;
                }
                let found = |offset: usize, bytes: usize| {
                    let offset = (word * 4 + offset) as u32;
                    move |(lane, clash)| Found { clash, lane, offset, bytes: bytes as u32 }
                };
                let Some(index) = self.apart_at(read) else {
                    let found = found(0, part.len());
                    self.ordered(making, 1 << lane, write, all_equal).map_err(found)?;
                    self.ordered(making, 1 << lane, read, all_equal).map_err(found)?;
                    continue;
                };
                for byte in part.clone() {
                    let (write, read) = self.bytes[index as usize][byte];
                    let found = found(byte - part.start, 1);
                    self.ordered(making, 1 << lane, write, all_equal).map_err(found)?;
                    self.ordered(making, 1 << lane, read, all_equal).map_err(found)?;
                }
            }
        }
        Ok(())
    }

    /// Where the bytes of a busy word are, if they are apart.
    fn apart_at(&self, slot: u32) -> Option<u32> {
        match self.entry(slot) {
            Some(&Entry::Bytes(index)) if slot > self.quiet => Some(index),
            _ => None,
        }
    }

    /// The slots of (write, read) after the access by the lanes of `group`; or which lane clashes.
    fn step(
        &mut self,
        making: &Making,
        group: u32,
        (write, read): (u32, u32),
        equal: Equal,
    ) -> Result<(u32, u32), (u32, Clash)> {
        let writes = making.event.kind().writes();
        let collides = self.ordered(making, group, write, equal)?;
        if writes {
            self.ordered(making, group, read, equal)?;
        }
        Ok(if !writes {
            (write, self.add(making, group, read))
        } else if making.event.strong() {
            (self.add(making, group, write), read)
        } else if collides {
            (self.add(making, group, write), 0)
        } else {
            (self.link(making, group, 0), 0)
        })
    }

    /// Everything in `slot` is ordered before the access of the lanes of `group`, or need not be. True: another
    /// lane of the same instruction wrote the same value there.
    fn ordered(
        &self,
        making: &Making,
        group: u32,
        mut slot: u32,
        equal: Equal,
    ) -> Result<bool, (u32, Clash)> {
        let mut collides = false;
        while slot > self.quiet {
            if slot & PENDING != 0 {
                return Err((group.trailing_zeros(), Clash::Pending { slot }));
            }
            let Some((tick, mask, next)) = self.item(slot) else { break };
            slot = next;
            let Some(event) = self.event(tick).filter(|_| tick << 5 > self.quiet) else { continue };
            if making.event.morally_strong_with(&event) || making.order.met(&event, &making.event) {
                continue;
            }
            for lane in lanes(group) {
                for other in lanes(mask & !(1 << lane)) {
                    if tick == making.tick {
                        if !equal(lane, other) {
                            let missing = Missing::OneWriter;
                            return Err((lane, Clash::Race { first: event.party(other), missing }));
                        }
                        collides = true;
                    } else if !self.behind(making, lane, &event, other) {
                        let missing = self.missing(making, lane, &event, other);
                        return Err((lane, Clash::Race { first: event.party(other), missing }));
                    }
                }
                let other_warp = !event.of_warp_of(&making.event);
                if other_warp && mask >> lane & 1 != 0 && !self.behind(making, lane, &event, lane) {
                    let missing = self.missing(making, lane, &event, lane);
                    return Err((lane, Clash::Race { first: event.party(lane), missing }));
                }
            }
        }
        Ok(collides)
    }

    /// An item of a list: tick, lanes, and the rest of the list.
    #[inline]
    fn item(&self, slot: u32) -> Option<(u32, u32, u32)> {
        match *self.entry(slot)? {
            Entry::Access(_) => Some((slot >> 5, 1 << (slot & 31), 0)),
            Entry::Also { tick, lanes, next, .. } => Some((tick, lanes, next)),
            Entry::Bytes(_) => None,
        }
    }

    fn behind(&self, making: &Making, lane: u32, event: &Event, other: u32) -> bool {
        let who = (event.block, u32::from(event.warp), other);
        making.order.behind(u32::from(making.event.warp), lane, who, event.stamp)
    }

    fn missing(&self, making: &Making, lane: u32, event: &Event, other: u32) -> Missing {
        let (mine, theirs) = (&making.event, event);
        let who = (theirs.block, u32::from(theirs.warp), other);
        let narrow = Missing::WiderScope(Scope::Block);
        if mine.strong() && theirs.strong() {
            if mine.size() == theirs.size() { narrow } else { Missing::EqualSize }
        } else if mine.block == theirs.block {
            if mine.warp == theirs.warp { Missing::WarpBarrier } else { Missing::Barrier }
        } else if making.order.supposedly_behind(u32::from(mine.warp), lane, who, theirs.stamp) {
            narrow
        } else {
            Missing::BlockOrder
        }
    }

    /// The lanes and the rest of a list whose first item is of the access being made.
    #[inline]
    fn made(&self, making: &Making, slot: u32) -> Option<(u32, u32)> {
        if slot <= self.quiet {
            return None;
        }
        let (tick, lanes, next) = self.item(slot)?;
        (tick == making.tick).then_some((lanes, next))
    }

    /// A list of the access by the lanes of `group`, then `next`.
    #[inline]
    fn link(&mut self, making: &Making, group: u32, next: u32) -> u32 {
        if group.is_power_of_two() && next <= self.quiet {
            return making.slot(group.trailing_zeros());
        }
        let warp = making.event.warp;
        self.push(Entry::Also { warp, tick: making.tick, lanes: group, next }) << 5
    }

    /// The list `old` with the access by `group`, without what no later access needs to be compared with.
    fn add(&mut self, making: &Making, group: u32, old: u32) -> u32 {
        let mine = making.event;
        let (group, list) =
            self.made(making, old).map_or((group, old), |(lanes, next)| (group | lanes, next));
        if making.plain && !self.has_warp(list, mine.warp) {
            return self.link(making, group, list);
        }
        let (mut slot, mut dropped) = (list, false);
        while slot > self.quiet {
            let Some((tick, mask, next)) = self.item(slot) else { break };
            slot = next;
            let Some(event) = self.event(tick).filter(|_| tick << 5 > self.quiet) else {
                dropped = true;
                continue;
            };
            if self.repeats(making, group, &event, mask) {
                return old;
            }
            dropped |= self.superseded(making, group, &event, mask) != 0;
        }
        let rest = if dropped { self.kept(making, group, list) } else { list };
        self.link(making, group, rest)
    }

    /// Whether a list of this block's accesses has one of `warp`.
    fn has_warp(&self, mut slot: u32, warp: u8) -> bool {
        while slot > self.quiet {
            match self.entry(slot) {
                Some(&Entry::Also { warp: of, next, .. }) if of != warp => slot = next,
                Some(Entry::Access(event)) => return event.warp == warp,
                _ => return true,
            }
        }
        false
    }

    /// Which lanes of an access need no comparing any more, since whatever races with them also races with the
    /// access being made.
    fn superseded(&self, making: &Making, group: u32, event: &Event, mask: u32) -> u32 {
        if !making.event.exposes(event) {
            return 0;
        }
        let own = if event.of_warp_of(&making.event) { mask & group } else { 0 };
        let lane = group.trailing_zeros();
        lanes(mask & !own)
            .filter(|&other| self.behind(making, lane, event, other))
            .fold(own, |gone, other| gone | 1 << other)
    }

    /// The list without what the access being made supersedes.
    fn kept(&mut self, making: &Making, group: u32, list: u32) -> u32 {
        let mut kept = [(0, 0, 0); 64];
        let (mut slot, mut count) = (list, 0);
        while slot > self.quiet {
            let Some((tick, mask, next)) = self.item(slot) else { break };
            slot = next;
            let Some(event) = self.event(tick).filter(|_| tick << 5 > self.quiet) else { continue };
            let mask = mask & !self.superseded(making, group, &event, mask);
            if mask != 0 {
                if count == kept.len() {
                    // A longer list stays as it is: correct, only not as short as it could be.
                    return list;
                }
                kept[count] = (event.warp, tick, mask);
                count += 1;
            }
        }
        let mut next = 0;
        for &(warp, tick, lanes) in kept[..count].iter().rev() {
            next = if next == 0 && lanes.is_power_of_two() {
                tick << 5 | lanes.trailing_zeros()
            } else {
                self.push(Entry::Also { warp, tick, lanes, next }) << 5
            };
        }
        next
    }
}

impl Touched<'_> {
    /// The bytes of its word that a lane touches; all for one of whole words.
    fn part(&self, lane: u32) -> Range<usize> {
        let start = usize::from(self.low[lane as usize] % 4);
        start..start + if self.bytes < 4 { self.bytes as usize } else { 4 }
    }
}

/// The lanes on the same bytes as `lane`.
fn alike(touched: &Touched, lane: u32) -> u32 {
    let (word, low) = (touched.words[lane as usize], touched.low[lane as usize]);
    let mut group = 0;
    for other in 0..32 {
        group |= u32::from((touched.words[other] == word) & (touched.low[other] == low)) << other;
    }
    group & touched.mask
}
