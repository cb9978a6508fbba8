//! AdamW has the same bits on cores and on the simulated GPU, and with bf16 moments whichever ranges the arena is cut into.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use octo_ops::philox::{Purpose, draw, normal};
use octo_ops::*;
use octo_queue::{DeviceKind, Queue, open};

/// Elements of the arenas: more than a task of a core, a multiple of nothing.
const ELEMENTS: u32 = 40_003;

/// Where the arenas begin in the numbering that random numbers go by.
const FIRST: u64 = (1 << 34) - 9_999;

/// The arenas and small blocks of an optimizer on a device.
struct Arenas {
    queue: Queue,
    weight: View,
    remainder: Option<View>,
    grad: View,
    m: View,
    v: View,
    step_block: View,
    result: View,
}

impl Arenas {
    fn new(device: DeviceKind, threads: usize, weight: DType, moments: DType) -> Arenas {
        let mut queue = open(device, Some(threads)).unwrap();
        let mut line = |name: &str, dtype, n| queue.tensor(name, dtype, &[n]).unwrap();
        let remainder = (weight == DType::Bf16).then(|| line("remainder", DType::I16, ELEMENTS));
        let (weight, grad) = (line("weight", weight, ELEMENTS), line("grad", DType::F32, ELEMENTS));
        let (m, v) = (line("m", moments, ELEMENTS), line("v", moments, ELEMENTS));
        let step_block = line("step block", DType::F32, StepBlock::WORDS);
        let result = line("result", DType::F32, StepResult::WORDS);
        queue.seal();
        let mut arenas = Arenas { queue, weight, remainder, grad, m, v, step_block, result };
        arenas.fill(arenas.weight, 1, 0.5);
        arenas
    }

    /// Normally distributed values, another stream of them for each number.
    fn fill(&mut self, view: View, number: u64, scale: f64) {
        let blocks = (0..ELEMENTS.div_ceil(4)).map(|i| normal(draw(3, Purpose::Fill, number, i)));
        let values = blocks.flatten().take(ELEMENTS as usize).map(|x| x * scale);
        let tensor = Tensor { dtype: view.dtype, values: values.collect() };
        self.queue.upload(view, &tensor.to_le_bytes()).unwrap();
    }

    /// An update of each of these ranges, all with new gradients.
    fn update(&mut self, number: u32, halted: bool, ranges: &[(u32, u32)]) {
        self.fill(self.grad, u64::from(number) + 10, 1e-3);
        let t = number as i32;
        let block = StepBlock {
            lr: 1e-3,
            bias_correction1: 1.0 - 0.9f32.powi(t),
            bias_correction2: 1.0 - 0.95f32.powi(t),
            clip: 1.0,
            inv_targets: 1.0,
            update: number,
        };
        let result =
            StepResult { clip_scale: 0.7, halted: f32::from(u8::from(halted)), ..StepResult::default() };
        self.queue.upload(self.step_block, bytemuck::bytes_of(&block)).unwrap();
        self.queue.upload(self.result, bytemuck::bytes_of(&result)).unwrap();
        for &(from, to) in ranges {
            let part = |view: View| view.slice_rows(from, to - from);
            let rounding = Rounding { seed: 11, first: FIRST + u64::from(from) };
            let op = AdamW {
                weight: part(self.weight),
                remainder: self.remainder.map(part),
                grad: part(self.grad),
                m: part(self.m),
                v: part(self.v),
                step_block: self.step_block,
                result: self.result,
                beta1: 0.9,
                beta2: 0.95,
                eps: 1e-8,
                weight_decay: 0.1,
                rounding: (self.m.dtype == DType::Bf16).then_some(rounding),
            };
            self.queue.run(op).unwrap();
        }
    }

    fn read(&mut self, view: View) -> Vec<u8> {
        let mut bytes = vec![0; view.span_bytes() as usize];
        self.queue.begin_readback(Slot(0), view).unwrap();
        self.queue.finish_readback(Slot(0), &mut bytes).unwrap();
        bytes
    }

    /// Everything that an update writes.
    fn state(&mut self) -> Vec<Vec<u8>> {
        let views = [Some(self.weight), self.remainder, Some(self.m), Some(self.v)];
        views.into_iter().flatten().map(|view| self.read(view)).collect()
    }
}

const WHOLE: &[(u32, u32)] = &[(0, ELEMENTS)];

/// Three updates.
fn trained(
    device: DeviceKind,
    threads: usize,
    [weight, moments]: [DType; 2],
    ranges: &[(u32, u32)],
) -> Vec<Vec<u8>> {
    let mut arenas = Arenas::new(device, threads, weight, moments);
    (1..=3).for_each(|number| arenas.update(number, false, ranges));
    arenas.state()
}

const TYPES: [[DType; 2]; 4] = [
    [DType::F32, DType::F32],
    [DType::F32, DType::Bf16],
    [DType::Bf16, DType::F32],
    [DType::Bf16, DType::Bf16],
];

#[test]
fn cores_and_the_simulated_gpu_give_the_same_bits() {
    for types in TYPES {
        let expected = trained(DeviceKind::Cpu, 1, types, WHOLE);
        assert!(trained(DeviceKind::Sim, 2, types, WHOLE) == expected, "{types:?}");
    }
}

#[test]
fn ranges_and_threads_change_no_bit() {
    // Pieces that a vector cannot take whole, one of a single element, and equal slices as ranks would own them.
    let ragged = [(0, 1), (1, 4_099), (4_099, 16_384), (16_384, 16_390), (16_390, ELEMENTS)];
    let slices: Vec<(u32, u32)> =
        (0..ELEMENTS).step_by(8_192).map(|from| (from, ELEMENTS.min(from + 8_192))).collect();
    for types in TYPES {
        let expected = trained(DeviceKind::Cpu, 1, types, WHOLE);
        assert!(trained(DeviceKind::Cpu, 3, types, WHOLE) == expected, "{types:?}: threads");
        assert!(trained(DeviceKind::Cpu, 2, types, &slices) == expected, "{types:?}: slices");
        assert!(trained(DeviceKind::Cpu, 2, types, &ragged) == expected, "{types:?}: pieces");
    }
    let half = [DType::Bf16, DType::Bf16];
    let expected = trained(DeviceKind::Cpu, 1, half, WHOLE);
    assert!(trained(DeviceKind::Sim, 1, half, &slices) == expected, "slices on the simulated GPU");
    // A view of bf16 may begin at any element, one of f32 as well: the kernel goes one by one.
    assert!(trained(DeviceKind::Sim, 1, half, &ragged) == expected, "pieces on the simulated GPU");
}

#[test]
fn a_halted_update_writes_nothing() {
    for device in [DeviceKind::Cpu, DeviceKind::Sim] {
        for types in TYPES {
            let mut arenas = Arenas::new(device, 2, types[0], types[1]);
            arenas.update(1, false, WHOLE);
            let before = arenas.state();
            arenas.update(2, true, WHOLE);
            assert!(arenas.state() == before, "{device:?} {types:?}");
            arenas.update(2, false, WHOLE);
            assert!(arenas.state() != before, "{device:?} {types:?}");
        }
    }
}

#[test]
fn every_update_is_rounded_by_numbers_of_its_own() {
    let half = [DType::F32, DType::Bf16];
    let after = |number| {
        let mut arenas = Arenas::new(DeviceKind::Cpu, 1, half[0], half[1]);
        arenas.update(1, false, WHOLE);
        // The same gradients and corrections in an update of another number.
        arenas.fill(arenas.m, 5, 0.1);
        arenas.update(number, false, WHOLE);
        arenas.state()
    };
    assert!(after(2) == after(2));
    assert!(after(2)[1] != after(3)[1]);
}
