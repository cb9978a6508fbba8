//! Copies a model directory through the arena's layout: `copy_model SOURCE COPY [MAX_SHARD_BYTES]`.
//!
//! `tests/golden/check_export.py` then lets transformers compare the two.

use octo_model::hf::{Companions, Export, MAX_SHARD_BYTES};
use octo_model::{ModelDir, ModelError};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(source), Some(copy)) = (args.next(), args.next()) else {
        return Err("usage: copy_model SOURCE COPY [MAX_SHARD_BYTES]".into());
    };
    let max_shard_bytes = match args.next() {
        Some(text) => text.to_string_lossy().parse()?,
        None => MAX_SHARD_BYTES,
    };

    let model = ModelDir::open(&source)?;
    let weights = model.weights();
    let table = weights.table();
    let mut arena = vec![0.0; table.total_elements() as usize];
    weights.read_all(&mut |_, _| (), |param, first, values| {
        let start = (table.range(param).start + first) as usize;
        arena[start..start + values.len()].copy_from_slice(values);
        Ok::<(), ModelError>(())
    })?;

    fs::create_dir_all(&copy)?;
    let export = Export {
        config: model.config(),
        table,
        dtype: weights.narrowest_dtype(),
        max_shard_bytes,
        companions: &Companions::of(&source)?,
    };
    export.write(
        &mut |name, write| {
            let mut out = BufWriter::new(File::create(copy.join(name))?);
            write(&mut out)?;
            out.flush()
        },
        &mut |param, first, into| {
            let start = (table.range(param).start + first) as usize;
            into.copy_from_slice(&arena[start..start + into.len()]);
            io::Result::Ok(())
        },
    )?;
    Ok(())
}
