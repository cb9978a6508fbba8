//! Stub. Read x; not y.
#![allow(missing_docs)]
use std::collections::BTreeMap;
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Fault(String);
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    Ampere,
    Hopper,
}
#[derive(Clone, Debug)]
pub struct Config {
    pub architecture: Architecture,
    pub seed: u64,
    pub threads: usize,
    pub resident_blocks: Option<u32>,
    pub instruction_limit: u64,
    pub checks: bool,
}
#[derive(Clone, Copy, Debug)]
pub struct ModuleId(pub u32);
#[derive(Clone, Copy, Debug)]
pub struct KernelId(pub u32);
#[derive(Clone, Debug)]
pub struct Grid {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared_bytes: u32,
    pub cooperative: bool,
}
pub struct Footprint {
    pub read: Vec<std::ops::Range<u64>>,
    pub written: Vec<std::ops::Range<u64>>,
}
pub struct Report {
    pub footprint: Footprint,
}
#[derive(Default)]
pub struct Gpu {
    memory: BTreeMap<u64, (String, Vec<Option<u8>>)>,
    next: u64,
}
impl Default for Config {
    fn default() -> Config {
        Config {
            architecture: Architecture::Ampere,
            seed: 0,
            threads: 1,
            resident_blocks: None,
            instruction_limit: 1 << 40,
            checks: true,
        }
    }
}
impl Gpu {
    pub fn new(_c: Config) -> Gpu {
        Gpu { memory: BTreeMap::new(), next: 1 << 40 }
    }
    pub fn load(&mut self, _m: crate::Module) -> Result<ModuleId, Fault> {
        Ok(ModuleId(0))
    }
    pub fn kernel(&mut self, _m: ModuleId, _n: &str) -> Result<KernelId, Fault> {
        Ok(KernelId(0))
    }
    pub fn allocate(&mut self, name: &str, bytes: u64) -> Result<u64, Fault> {
        let at = self.next;
        self.next += (bytes + 4096).next_multiple_of(256);
        self.memory.insert(at, (name.into(), vec![None; bytes as usize]));
        Ok(at)
    }
    pub fn free(&mut self, a: u64) -> Result<(), Fault> {
        self.memory.remove(&a);
        Ok(())
    }
    fn find(&mut self, a: u64) -> (&mut Vec<Option<u8>>, usize) {
        let (s, m) = self.memory.range_mut(..=a).next_back().unwrap();
        (&mut m.1, (a - s) as usize)
    }
    pub fn write(&mut self, a: u64, b: &[u8]) -> Result<(), Fault> {
        let (m, o) = self.find(a);
        for (i, b) in b.iter().enumerate() {
            m[o + i] = Some(*b);
        }
        Ok(())
    }
    pub fn fill(&mut self, a: u64, b: u8, n: u64) -> Result<(), Fault> {
        let (m, o) = self.find(a);
        for i in 0..n as usize {
            m[o + i] = Some(b);
        }
        Ok(())
    }
    pub fn read(&mut self, a: u64, b: &mut [u8]) -> Result<(), Fault> {
        let (m, o) = self.find(a);
        for (i, b) in b.iter_mut().enumerate() {
            *b = m[o + i].ok_or_else(|| Fault("uninitialized".into()))?;
        }
        Ok(())
    }
    pub fn launch(&mut self, _k: KernelId, _g: &Grid, _p: &[u8]) -> Result<Report, Box<Fault>> {
        Err(Box::new(Fault("stub".into())))
    }
}
