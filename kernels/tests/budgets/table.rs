//! What every kernel is held to, as the table in `docs/testing.md`: a kernel without a row there fails, and so does a row
//! that names a test which is gone. After a change that is meant:
//!
//! ```sh
//! UPDATE_DOCS=1 cargo test -p octo-kernels --test budgets table
//! ```

use crate::Apart;
use octo_kernels::tuning::{Capability, Tuning};
use octo_kernels::{launches, source};
use octo_ops::Op;
use octo_ptx::{parse, shipped::SM_80};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::read_to_string;
use std::path::Path;

/// For each source the test with figures that are worked out by hand: its file below `kernels/tests/`, its name.
const BY_HAND: &[(&str, &str, &str)] = &[
    ("adamw", "counts/adamw.rs", "bytes_are_the_floor"),
    (
        "attention",
        "attention/counts.rs",
        "a_block_of_128_queries_and_128_keys_does_what_was_worked_out_by_hand",
    ),
    (
        "attention_backward",
        "attention/backward_counts.rs",
        "dq_of_128_queries_and_128_keys_does_what_was_worked_out_by_hand",
    ),
    (
        "attention_merge",
        "attention/segments.rs",
        "keys_and_values_are_read_once_for_all_heads_of_a_group_and_segments_leave_what_is_stated",
    ),
    (
        "attention_segments",
        "attention/segments.rs",
        "the_main_loop_takes_no_more_instructions_an_mma_than_stated",
    ),
    ("bias_backward", "rows/budgets.rs", "column_sums_read_rows_once"),
    ("copy_pages", "rows/budgets.rs", "copied_pages_move_once_each_way"),
    ("embed", "rows/budgets.rs", "picking_rows_moves_each_once"),
    ("embed_backward", "rows/budgets.rs", "gradients_of_picked_rows_move_dx_and_the_rows_named_once"),
    ("feed_tokens", "rows/budgets.rs", "fed_tokens_are_picked_once"),
    ("gemm", "gemm/counts.rs", "a_product_reads_and_writes_no_more_than_its_tiles_need"),
    ("grad_norm", "rows/budgets.rs", "a_norm_reads_the_gradient_once"),
    ("head_logprob", "rows/head.rs", "rows_of_logits_are_moved_as_the_heads_of_the_sources_say"),
    ("head_loss", "rows/head.rs", "rows_of_logits_are_moved_as_the_heads_of_the_sources_say"),
    ("head_parts", "rows/head.rs", "no_logit_passes_through_memory_where_parts_are_summed_in_the_product"),
    ("head_policy", "rows/policy.rs", "rows_are_moved_as_the_heads_of_the_sources_say"),
    ("head_policy_backward", "rows/policy.rs", "rows_are_moved_as_the_heads_of_the_sources_say"),
    ("head_sample", "rows/head.rs", "a_block_that_has_a_row_to_itself_reads_it_as_often_as_stated"),
    ("head_sample_slices", "rows/head.rs", "slices_of_a_row_move_what_the_head_of_the_source_says"),
    ("loss_sum", "rows/budgets.rs", "a_sum_of_losses_reads_each_once"),
    ("qkv_rope", "gemm/counts.rs", "heads_cost_the_table_besides_and_are_written_in_whole_sectors"),
    ("random_fill", "counts/random_fill.rs", "sixteen_bytes_a_lane_are_written_and_nothing_is_read"),
    ("rms_norm", "counts/rms_norm.rs", "bytes_are_the_floor"),
    ("rms_norm_backward", "rows/budgets.rs", "gradients_through_the_norm_move_rows_once"),
    ("rope_backward", "rows/budgets.rs", "rotating_back_moves_rows_once_each_way"),
    ("swiglu", "counts/swiglu.rs", "a_warp_takes_thirty_two_eights"),
];

/// What ops are called in Rust, of those whose rows are tried alone (true) and of those that have none.
fn tried_alone(proof: &str) -> BTreeMap<String, bool> {
    let mut tried = BTreeMap::new();
    for line in proof.lines() {
        for arm in line.split("Op::").skip(1).filter(|_| line.contains("(_)")) {
            let name = arm.split('(').next().unwrap_or_default();
            tried.insert(name.to_owned(), !line.contains("return None"));
        }
    }
    tried
}

/// Ops by name: in how many cases of conformance they launch something, and whether their rows are tried alone.
type Users = BTreeMap<&'static str, (u32, bool)>;

fn table() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let alone = tried_alone(&read_to_string(root.join("../engine/proof/tests/rows_alone.rs")).unwrap());
    let tuning = Tuning::new(Capability::A100);
    let mut users: BTreeMap<String, Users> = BTreeMap::new();
    for case in Op::all_cases() {
        let debug = format!("{:?}", case.op);
        let rust = debug.split('(').next().unwrap();
        let rows = *alone.get(rust).unwrap_or_else(|| panic!("rows_alone.rs does not know {rust}"));
        let entries = launches(&case.op, &Apart, &tuning).unwrap_or_default();
        let entries: BTreeSet<String> = entries.into_iter().map(|launch| launch.entry).collect();
        for entry in entries {
            users.entry(entry).or_default().entry(case.op.name()).or_insert((0, rows)).0 += 1;
        }
    }
    let mut sources: BTreeMap<String, (u32, Users)> = BTreeMap::new();
    for (unit, shipped) in source::units(&root.join("cuda")).unwrap().iter().zip(SM_80) {
        let (entries, ops) = sources.entry(unit.source.clone()).or_default();
        for kernel in parse(shipped.text).unwrap().kernels {
            *entries += 1;
            for (op, (cases, rows)) in users.get(&kernel.name).into_iter().flatten() {
                ops.entry(op).or_insert((0, *rows)).0 += cases;
            }
        }
    }
    let mut table = String::from(
        "| source | kernels | ops: launches in conformance | a row alone | counted by hand in |\n|---|---|---|---|---|\n",
    );
    for (source, (entries, ops)) in sources {
        let (_, file, test) = BY_HAND
            .iter()
            .find(|(of, ..)| *of == source)
            .unwrap_or_else(|| panic!("{source}.cu: say in BY_HAND which test counts what it moves"));
        let text = read_to_string(root.join("tests").join(file)).unwrap();
        assert!(text.contains(&format!("fn {test}()")), "{file} has no test `{test}`");
        // A kernel for more rows than conformance has is run beside it.
        let told = ops.iter().map(|(op, (cases, _))| format!("`{op}` {cases}"));
        let told = if ops.is_empty() { "beside it".into() } else { told.collect::<Vec<_>>().join(", ") };
        let rows = match ops.values().any(|(_, rows)| *rows) {
            true => "its bits",
            false if ops.is_empty() => "its bits",
            false => "has none",
        };
        writeln!(table, "| `{source}.cu` | {entries} | {told} | {rows} | `{file}` |").unwrap();
    }
    table
}

#[test]
fn the_table_of_kernels_is_what_tests_hold() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/testing.md");
    let page = read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- kernels -->\n", "<!-- /kernels -->");
    let (before, rest) = page.split_once(begin).unwrap();
    let (stated, after) = rest.split_once(end).unwrap();
    let table = table();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        #[allow(clippy::disallowed_methods, reason = "a page of the repository, by hand")]
        std::fs::write(&path, [before, begin, &table, end, after].concat()).unwrap();
    } else {
        assert_eq!(
            stated, table,
            "make it anew: UPDATE_DOCS=1 cargo test -p octo-kernels --test budgets table"
        );
    }
}
