//! Operands that leave their buffers, lie over each other, or have other types and shapes than the op takes: the queue
//! refuses them in words that name one, and nothing is launched.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use octo_ops::*;
use octo_queue::{DeviceKind, Queue, QueueError, open};
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::HashSet;
use std::sync::LazyLock;

/// Ops that the simulated GPU computes, on few elements, by the order of the table.
static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let asked = open(DeviceKind::Sim, Some(1)).unwrap();
    let elements = |case: &Case| case.tensors.iter().map(|tensor| tensor.values.len()).sum::<usize>();
    let mut seen = HashSet::new();
    let small =
        |case: &Case| elements(case) < 4000 && asked.supports(&case.op) && seen.insert(case.op.name());
    Op::all_cases().into_iter().rev().filter(small).collect()
});

/// What happens to an operand.
#[derive(Clone, Debug)]
enum Change {
    /// It begins so many bytes later.
    Offset(u64),
    /// Its rows begin so many elements apart.
    Stride(u32),
    /// One of its axes.
    Axis(Index, u32),
    DType(DType),
    /// It lies in another operand's buffer, or in none.
    Buffer(u32),
}

fn any_change() -> impl Strategy<Value = Change> {
    let number = || {
        prop_oneof![
            0..300u32,
            (0..32u32).prop_map(|bit| u32::MAX >> bit),
            (0..32u32).prop_map(|bit| 1 << bit)
        ]
    };
    prop_oneof![
        prop_oneof![1..9u64, (0..64u32).prop_map(|bit| u64::MAX >> bit)].prop_map(Change::Offset),
        number().prop_map(Change::Stride),
        (any::<Index>(), number()).prop_map(|(axis, size)| Change::Axis(axis, size)),
        prop::sample::select(vec![DType::F32, DType::Bf16, DType::I32, DType::U32]).prop_map(Change::DType),
        (0..12u32).prop_map(Change::Buffer),
    ]
}

fn changed(mut view: View, change: &Change) -> View {
    let mut shape = view.shape().to_vec();
    let mut dtype = view.dtype;
    match change {
        Change::Offset(bytes) => {
            view.offset = view.offset.saturating_add(*bytes);
            return view;
        }
        Change::Stride(stride) => return view.with_row_stride(*stride),
        Change::Buffer(buffer) => {
            view.buffer = BufferId(*buffer);
            return view;
        }
        Change::Axis(axis, size) => {
            let axis = axis.index(shape.len());
            shape[axis] = *size;
        }
        Change::DType(other) => dtype = *other,
    }
    View::new(view.buffer, view.offset, dtype, &shape)
}

/// The bytes of a view, row by row, by numbers that cannot overflow.
fn ranges(view: &View) -> Vec<std::ops::Range<u128>> {
    let row: u128 = view.shape()[1..].iter().map(|&axis| u128::from(axis)).product();
    let bytes = u128::from(view.dtype.bytes());
    let begin = |r: u32| u128::from(view.offset) + u128::from(r) * view.row_stride() as u128 * bytes;
    let rows = if row == 0 { 0 } else { view.shape()[0] };
    // Of absurdly many rows the last one is enough to leave any buffer.
    let rows = if rows > 10_000 { vec![rows - 1] } else { (0..rows).collect() };
    rows.into_iter().map(|r| begin(r)..begin(r) + row * bytes).collect()
}

/// Whether an op's operands lie where they may.
fn lies_right(op: &Op, sizes: &[u64]) -> bool {
    let operands = op.operands();
    let inside = |o: &Operand| {
        let size = sizes.get(o.view.buffer.0 as usize).copied().unwrap_or(0);
        let ends = ranges(&o.view).into_iter().all(|range| range.end <= u128::from(size));
        ends && o.view.offset.is_multiple_of(o.view.dtype.bytes())
    };
    let apart = |a: &Operand, b: &Operand| {
        let reads = a.access == Access::Read && b.access == Access::Read;
        let meet =
            |x: &std::ops::Range<u128>| ranges(&b.view).iter().any(|y| x.start < y.end && y.start < x.end);
        reads || a.view.buffer != b.view.buffer || !ranges(&a.view).iter().any(meet)
    };
    let pairs = || (0..operands.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    operands.iter().all(inside) && pairs().all(|(i, j)| apart(&operands[i], &operands[j]))
}

/// A queue with a case's buffers, zeroed, and their sizes.
fn queue(case: &Case) -> (Queue, Vec<u64>) {
    let mut queue = open(DeviceKind::Sim, Some(1)).unwrap();
    let mut sizes = Vec::new();
    for (number, tensor) in case.tensors.iter().enumerate() {
        let shape = [tensor.values.len() as u32];
        let view = queue.tensor(&format!("tensor {number}"), tensor.dtype, &shape).unwrap();
        sizes.push(view.span_bytes());
    }
    queue.seal();
    (queue, sizes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn a_wrong_operand_is_named_and_nothing_is_launched(
        which in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), any_change()), 1..3),
    ) {
        let case = which.get(&CASES);
        let mut op = case.op;
        for (operand, change) in &changes {
            let mut views = op.views_mut();
            let index = operand.index(views.len());
            let place = &mut views[index];
            **place = changed(**place, change);
        }
        let (mut queue, sizes) = queue(case);
        // Recorded, not run: what numbers the buffers hold is another matter.
        let mut answer = Ok(());
        let right = lies_right(&op, &sizes);
        let captured = queue.capture(|queue| {
            answer = queue.run(op);
            Ok(())
        });
        prop_assert!(captured.is_ok());
        match answer {
            Ok(()) => prop_assert!(right, "launched: {op:?}"),
            Err(QueueError::Backend(BackendError::Unsupported { what, .. })) => {
                prop_assert!(right && queue.supports(&case.op), "{what}: {op:?}");
            }
            Err(QueueError::Misuse { what }) => {
                let names: Vec<&str> = op.operands().iter().map(|operand| operand.name).collect();
                let named = names.iter().any(|name| what.contains(&format!("`{name}`")));
                // Constants are wrong with no operand.
                let named = named || ["head_dim", "`scale`"].iter().any(|name| what.contains(name));
                prop_assert!(named, "{what}: {op:?}");
            }
            Err(other) => prop_assert!(false, "{other}: {op:?}"),
        }
    }
}

#[test]
fn every_op_is_among_them() {
    let table: HashSet<&str> = Op::all_cases().iter().map(|case| case.op.name()).collect();
    let tried: HashSet<&str> = CASES.iter().map(|case| case.op.name()).collect();
    assert_eq!(table.difference(&tried).collect::<Vec<_>>(), Vec::<&&str>::new());
}
