//! Whole modules.

#![allow(missing_docs, clippy::unwrap_used)]

use octo_ptx::parse;

#[test]
fn a_small_module_is_read() {
    let text = ".version 8.4\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p) { ret; }";
    assert_eq!(parse(text).unwrap().kernels[0].body.len(), 1);
}
