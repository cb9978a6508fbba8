//! Order between blocks: scopes too narrow, and fences left out. No shipped kernel lets blocks wait for each other yet, so
//! the fault is planted into the pattern that will: every block leaves its part, the last to come adds all.

use octo_ptx::check::{Hazard, Missing};
use octo_ptx::sim::{Config, Fault, Gpu, Grid, Report};
use octo_ptx::{Kernel, Operation, Scope, Semantics, parse};

const LAST_ADDS: &str = "
.version 8.4
.target sm_80
.address_size 64
.visible .entry last_adds(.param .u64 parts, .param .u64 count, .param .u64 total)
{
    .reg .b64 %rd<8>; .reg .b32 %r<12>; .reg .pred %p<4>;
    ld.param.u64 %rd1, [parts]; ld.param.u64 %rd2, [count]; ld.param.u64 %rd3, [total];
    mov.u32 %r0, %tid.x; setp.ne.u32 %p1, %r0, 0; @%p1 bra END;
    mov.u32 %r1, %ctaid.x; mov.u32 %r2, %nctaid.x; sub.u32 %r3, %r2, 1;
    mul.wide.u32 %rd4, %r1, 4; add.s64 %rd5, %rd1, %rd4; add.u32 %r4, %r1, 10;
    st.global.u32 [%rd5], %r4;
    fence.acq_rel.gpu;
    atom.relaxed.gpu.global.add.u32 %r5, [%rd2], 1;
    setp.ne.u32 %p2, %r5, %r3; @%p2 bra END;
    fence.acq_rel.gpu;
    mov.u32 %r6, 0; mov.u32 %r7, 0;
SUM: mul.wide.u32 %rd6, %r6, 4; add.s64 %rd7, %rd1, %rd6;
    ld.global.u32 %r8, [%rd7];
    add.u32 %r7, %r7, %r8; add.u32 %r6, %r6, 1; setp.lt.u32 %p3, %r6, %r2; @%p3 bra SUM;
    st.global.u32 [%rd3], %r7;
END: ret;
}";

type Plant = fn(&mut Kernel);

fn run(seed: u64, plant: Plant) -> Result<(Report, u32), Box<Fault>> {
    let mut module = parse(LAST_ADDS).unwrap();
    plant(&mut module.kernels[0]);
    let mut gpu = Gpu::new(Config { seed, ..Config::default() });
    let module = gpu.load(module)?;
    let kernel = gpu.kernel(module, "last_adds")?;
    let buffers =
        [("parts", 32), ("count", 4), ("total", 4)].map(|(name, bytes)| gpu.allocate(name, bytes).unwrap());
    gpu.fill(buffers[1], 0, 4)?;
    let grid = Grid { grid: [8, 1, 1], block: [32, 1, 1], shared_bytes: 0, cooperative: false };
    let report = gpu.launch(kernel, &grid, &buffers.map(u64::to_le_bytes).concat())?;
    let mut total = [0; 4];
    gpu.read(buffers[2], &mut total)?;
    Ok((report, u32::from_le_bytes(total)))
}

fn fences(kernel: &mut Kernel) -> Vec<&mut Operation> {
    let lines = kernel.body.iter_mut().map(|line| &mut line.operation);
    lines.filter(|line| matches!(line, Operation::Fence { .. })).collect()
}

fn narrow(fence: &mut Operation) {
    *fence = Operation::Fence { semantics: Semantics::AcquireRelease, scope: Scope::Block };
}

#[test]
fn order_between_blocks_needs_fences_and_atomics_of_scope_gpu() {
    let faults: [(&str, Plant, Missing); 5] = [
        ("the release is .cta", |kernel| narrow(fences(kernel)[0]), Missing::WiderScope(Scope::Block)),
        ("the acquire is .cta", |kernel| narrow(fences(kernel)[1]), Missing::WiderScope(Scope::Block)),
        (
            "the atomic is .cta",
            |kernel| {
                for line in &mut kernel.body {
                    if let Operation::Atomic { scope, .. } = &mut line.operation {
                        *scope = Scope::Block;
                    }
                }
            },
            Missing::WiderScope(Scope::Block),
        ),
        ("no release", |kernel| *fences(kernel)[0] = Operation::Nothing, Missing::BlockOrder),
        ("no acquire", |kernel| *fences(kernel)[1] = Operation::Nothing, Missing::BlockOrder),
    ];
    for seed in 0..8 {
        let (_, total) = run(seed, |_| {}).unwrap_or_else(|fault| panic!("unplanted: {fault}"));
        assert_eq!(total, (10..18).sum::<u32>());
        for (name, plant, wanted) in faults {
            let Err(fault) = run(seed, plant) else { panic!("{name}: seed {seed}: no fault") };
            let Fault::Race { hazard, first, second, .. } = &*fault else { panic!("{name}: {fault}") };
            let Hazard::Race { missing, .. } = **hazard else { panic!("{name}: {fault}") };
            assert_eq!(missing, wanted, "{name}: seed {seed}: {fault}");
            assert_ne!(first.block, second.block, "{name}: {fault}");
        }
    }
}
