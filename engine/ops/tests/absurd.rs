//! Operands of any type, shape, stride and place: checks, costs and views answer in words or numbers, with overflow checks
//! on, and what is wrong is named.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use octo_ops::*;
use proptest::prelude::*;
use std::sync::LazyLock;

/// One case of each op at least; their tensors are not looked at.
static OPS: LazyLock<Vec<Op>> = LazyLock::new(|| Op::all_cases().iter().map(|case| case.op).collect());

fn any_axis() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0u32),
        1..40u32,
        (0..32u32).prop_map(|bit| 1 << bit),
        (0..32u32).prop_map(|bit| u32::MAX >> bit),
        (0..32u32).prop_map(|low| u32::MAX - low),
    ]
}

fn any_dtype() -> impl Strategy<Value = DType> {
    prop::sample::select(vec![DType::F32, DType::Bf16, DType::I16, DType::I32, DType::U32, DType::U64])
}

fn any_view() -> impl Strategy<Value = View> {
    let offset = prop_oneof![0..64u64, (0..64u32).prop_map(|bit| u64::MAX >> bit)];
    let stride = prop::option::of(any_axis());
    (offset, any_dtype(), prop::collection::vec(any_axis(), 1..=4), stride).prop_map(
        |(offset, dtype, shape, stride)| {
            let view = View::new(BufferId(0), offset, dtype, &shape);
            stride.map_or(view, |stride| view.with_row_stride(stride))
        },
    )
}

/// The end of a view by numbers that cannot overflow; none of an empty one.
fn end(view: &View) -> Option<u128> {
    let row: u128 = view.shape()[1..].iter().map(|&axis| u128::from(axis)).product();
    let last = u128::from(view.shape()[0]).checked_sub(1)?;
    let elements = last * view.row_stride() as u128 + row;
    (row > 0).then(|| u128::from(view.offset) + elements * u128::from(view.dtype.bytes()))
}

proptest! {
    #[test]
    fn counts_of_a_view_are_exact_or_the_largest_there_is(view in any_view(), other in any_view()) {
        let row: u128 = view.shape()[1..].iter().map(|&axis| u128::from(axis)).product();
        let all = row * u128::from(view.shape()[0]);
        prop_assert_eq!(view.row_elements() as u128, row.min(u128::from(u64::MAX)));
        // What is beyond 64 bits in one axis's rows may come to nothing in no rows.
        if row <= u128::from(u64::MAX) {
            prop_assert_eq!(view.elements() as u128, all.min(u128::from(u64::MAX)));
            let spanned = end(&view).map_or(u128::from(view.offset), |end| end);
            prop_assert_eq!(u128::from(view.end()), spanned.min(u128::from(u64::MAX)));
        }
        prop_assert_eq!(view.overlaps(&other), other.overlaps(&view));
        if let (Some(here), Some(there)) = (end(&view), end(&other))
            && (here <= u128::from(other.offset) || there <= u128::from(view.offset))
        {
            prop_assert!(!view.overlaps(&other));
        }
    }

    #[test]
    fn any_op_is_checked_and_what_is_wrong_is_named(
        which in any::<prop::sample::Index>(),
        operands in prop::collection::vec((any::<prop::sample::Index>(), any_view()), 1..4),
    ) {
        let mut op = *which.get(&OPS);
        for (operand, mut view) in operands {
            let mut views = op.views_mut();
            let index = operand.index(views.len());
            view.buffer = BufferId(index as u32);
            *views[index] = view;
        }
        op.cost();
        let names: Vec<&str> = op.operands().iter().map(|operand| operand.name).collect();
        match op.check() {
            // Then rows lie side by side, and no axis is what an expectation stands for.
            Ok(()) => for operand in op.operands() {
                let view = operand.view;
                let flat = matches!(op, Op::GradNorm(_) | Op::RandomFill(_)) && view.is_contiguous();
                prop_assert!(flat || view.shape().iter().all(|&axis| axis < ANY), "{op:?}");
                prop_assert!(view.rows() <= 1 || view.row_stride() >= view.row_elements(), "{op:?}");
            },
            Err(
                OpError::Shape { operand, .. } | OpError::DType { operand, .. } | OpError::Rows { operand, .. },
            ) => prop_assert!(names.contains(&operand), "{operand} of {op:?}"),
            Err(OpError::Relation { what, .. }) => prop_assert!(what.len() > 10, "{what}"),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn the_operands_of_an_op_can_be_put_elsewhere_in_their_order() {
    for mut op in OPS.iter().copied() {
        for (number, view) in op.views_mut().into_iter().enumerate() {
            view.offset = number as u64;
        }
        let places: Vec<u64> = op.operands().iter().map(|operand| operand.view.offset).collect();
        assert_eq!(places, (0..places.len() as u64).collect::<Vec<_>>(), "{op:?}");
    }
}
