//! Runs all blocks of a launch.
//!
//! Blocks that cannot see each other while they run (no atomics, volatile or ordered accesses of global memory) run to
//! their ends one by one, on as many host threads as there are, in a seeded order. Others are interleaved on one host
//! thread: some are resident and take turns by chance, and a finished one makes room for the next.

use super::alu::Tally;
use super::block::{Block, Progress, Worker};
use super::fault::Fault;
use super::launch::Launch;
use super::random::Random;
use crate::Operation;
use crate::check::{Blocks, Footprint, GlobalCheck, GridCheck, Trace};
use crate::count::{Class, Counters};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;

/// What a launch did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What a GPU would have had to do.
    pub counters: Counters,
    /// Bytes of device memory it read and wrote.
    pub footprint: Footprint,
    /// Warp instructions executed by line of PTX text, ascending; lines that never ran are left out.
    pub lines: Vec<(u32, u64)>,
}

/// Blocks that take turns where nothing says how many.
const RESIDENT: u64 = 16;

/// Runs the blocks of a launch in `order`, shuffled.
pub(super) fn run(
    launch: &Launch<'_>,
    body: &[Operation],
    seed: u64,
    cooperative: bool,
    mut order: Vec<u32>,
) -> Result<Report, Box<Fault>> {
    let mut random = Random::new(seed);
    for end in (2..=order.len() as u32).rev() {
        order.swap(random.below(end) as usize, end as usize - 1);
    }
    let (workers, grid) = if launch.program.communicates || cooperative {
        together(launch, &order, random, cooperative)?
    } else {
        one_by_one(launch, &order, random.next())?
    };
    let mut counters = Counters::default();
    let mut tally: Tally = vec![[0; 2]; launch.program.lines.len()];
    for worker in workers {
        counters += &worker.counters;
        for (sum, part) in tally.iter_mut().zip(worker.tally) {
            sum[0] += part[0];
            sum[1] += part[1];
        }
    }
    let mut lines = BTreeMap::new();
    for (pc, [warps, threads]) in tally.into_iter().enumerate().filter(|(_, [warps, _])| *warps > 0) {
        let class = body.get(pc).map_or(Class::Control, Class::of) as usize;
        counters.warp_instructions[class] += warps;
        counters.thread_instructions[class] += threads;
        if let Some((span, _)) = launch.program.places.get(pc).filter(|_| pc < body.len()) {
            *lines.entry(span.line).or_insert(0) += warps;
        }
    }
    let footprint = grid.footprint();
    let bytes = |ranges: &[Range<u64>]| ranges.iter().map(|range| range.end - range.start).sum();
    counters.unique_bytes_read = bytes(&footprint.read);
    counters.unique_bytes_written = bytes(&footprint.written);
    Ok(Report { counters, footprint, lines: lines.into_iter().collect() })
}

fn worker(launch: &Launch<'_>, blocks: Blocks) -> Worker {
    Worker {
        global: GlobalCheck::new(blocks, launch.config.checks),
        counters: Counters::default(),
        tally: vec![[0; 2]; launch.program.lines.len()],
    }
}

/// What the host threads share: blocks are handed out, and their traces joined, in the order of their positions.
struct Desk {
    next: usize,
    /// Positions from here on need not run: an earlier one failed.
    stop: usize,
    joined: usize,
    done: BTreeMap<usize, Result<Trace, Box<Fault>>>,
    grid: GridCheck,
    fault: Option<Box<Fault>>,
}

impl Desk {
    /// Joins every result whose turn it is; the first fault in order is the launch's, however fast the threads are.
    fn join(&mut self, launch: &Launch<'_>) {
        while self.fault.is_none()
            && let Some(result) = self.done.remove(&self.joined)
        {
            let joined = result
                .and_then(|trace| self.grid.add(trace).map_err(|hazard| Box::new(launch.hazard(*hazard))));
            if let Err(fault) = joined {
                self.fault = Some(fault);
                self.stop = self.stop.min(self.joined);
            }
            self.joined += 1;
        }
    }
}

fn one_by_one(launch: &Launch<'_>, order: &[u32], seed: u64) -> Result<(Vec<Worker>, GridCheck), Box<Fault>> {
    let desk = Mutex::new(Desk {
        next: 0,
        stop: order.len(),
        joined: 0,
        done: BTreeMap::new(),
        grid: GridCheck::new(),
        fault: None,
    });
    let threads = launch.config.threads.clamp(1, order.len().max(1));
    let lost = || Box::new(Fault::WorkerLost { kernel: launch.program.name.clone() });
    let work = || -> Option<Worker> {
        let mut worker = worker(launch, Blocks::Independent);
        let mut block = Block::new(launch);
        loop {
            let position = {
                let mut desk = desk.lock().ok()?;
                let position = desk.next;
                if position >= desk.stop {
                    return Some(worker);
                }
                desk.next += 1;
                position
            };
            block.start(launch, &mut worker, order[position].into(), seed);
            let result = loop {
                match block.turn(launch, &mut worker) {
                    Ok(Progress::Running) => {}
                    Ok(Progress::Done) => break Ok(worker.global.trace()),
                    Err(fault) => break Err(fault),
                }
            };
            let mut desk = desk.lock().ok()?;
            if result.is_err() {
                desk.stop = desk.stop.min(position);
            }
            desk.done.insert(position, result);
            desk.join(launch);
        }
    };
    let mut workers = Vec::new();
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        workers.push(work());
        workers.extend(others.into_iter().map(|other| other.join().ok().flatten()));
    });
    let workers: Option<Vec<Worker>> = workers.into_iter().collect();
    let desk = desk.into_inner().map_err(|_| lost())?;
    match desk.fault {
        Some(fault) => Err(fault),
        None => Ok((workers.ok_or_else(lost)?, desk.grid)),
    }
}

fn together(
    launch: &Launch<'_>,
    order: &[u32],
    mut random: Random,
    cooperative: bool,
) -> Result<(Vec<Worker>, GridCheck), Box<Fault>> {
    let mut worker = worker(launch, Blocks::Communicating);
    let seed = random.next();
    let wanted = match (cooperative, launch.config.resident_blocks) {
        (true, _) => launch.blocks(),
        (false, Some(resident)) => u64::from(resident.max(1)),
        (false, None) => RESIDENT,
    };
    let mut waiting = order.iter();
    let mut resident = Vec::new();
    for &linear in waiting.by_ref().take(wanted as usize) {
        let mut block = Block::new(launch);
        block.start(launch, &mut worker, linear.into(), seed);
        resident.push(block);
    }
    while !resident.is_empty() {
        let index = random.below(resident.len() as u32) as usize;
        match resident[index].turn(launch, &mut worker) {
            Ok(Progress::Running) => {}
            Ok(Progress::Done) => match waiting.next() {
                Some(&linear) => resident[index].start(launch, &mut worker, linear.into(), seed),
                None => {
                    resident.swap_remove(index);
                }
            },
            Err(fault) => {
                return Err(match *fault {
                    Fault::InstructionLimit { site, limit } if !waiting.as_slice().is_empty() => {
                        Box::new(Fault::NotResident {
                            site,
                            limit,
                            resident: resident.len() as u32,
                            blocks: launch.blocks(),
                            waiting: waiting.as_slice().len() as u64,
                        })
                    }
                    fault => Box::new(fault),
                });
            }
        }
    }
    let mut grid = GridCheck::new();
    grid.add(worker.global.trace()).map_err(|hazard| Box::new(launch.hazard(*hazard)))?;
    Ok((vec![worker], grid))
}
