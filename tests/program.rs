//! The program as its users meet it: the real binary, in folders of its own; and the house it is built in.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "program/architecture.rs"]
mod architecture;
#[path = "program/bad_data.rs"]
mod bad_data;
#[path = "program/bad_model.rs"]
mod bad_model;
#[path = "program/bench.rs"]
mod bench;
#[path = "program/command_line.rs"]
mod command_line;
#[path = "program/cuda.rs"]
mod cuda;
#[path = "program/eval.rs"]
mod eval;
#[path = "program/folder.rs"]
mod folder;
#[path = "program/generation.rs"]
mod generation;
#[path = "program/libraries.rs"]
mod libraries;
#[path = "program/moments.rs"]
mod moments;
#[path = "program/plot.rs"]
mod plot;
#[path = "program/resuming.rs"]
mod resuming;
#[path = "program/rl.rs"]
mod rl;
#[path = "program/rl_faults.rs"]
mod rl_faults;
#[path = "program/shards.rs"]
mod shards;
#[path = "program/simulated.rs"]
mod simulated;
#[path = "program/tools.rs"]
mod tools;
#[path = "program/training.rs"]
mod training;
#[path = "program/verify.rs"]
mod verify;
