//! What does a device reach on work that is made for it: the rates that bounds are made of.

use octo_ops::{DType, Embed, LinearResidual, Op, RandomFill, View};
use octo_queue::{Queue, QueueError};
use std::time::Instant;

/// Rates of a device.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Bytes a second of a copy, read and written.
    pub bytes: f64,
    /// Operations a second of a large product.
    pub flops: f64,
}

/// Measures both on a fresh queue, each as the best of a few.
///
/// # Errors
/// Where the device has too little memory, or fails.
pub fn ceilings(queue: &mut Queue) -> Result<Ceilings, QueueError> {
    let activation = queue.describe().precision.activations;
    let (rows, columns) = (1 << 15, 2048);
    let mut tensor = |name: &str, shape: [u32; 2]| queue.tensor(name, activation, &shape);
    let product = LinearResidual {
        x: tensor("x", [1024, columns])?,
        weight: tensor("weight", [columns, columns])?,
        residual: tensor("residual", [1024, columns])?,
        out: tensor("out", [1024, columns])?,
    };
    let (weight, out) = (tensor("rows", [rows, columns])?, tensor("copy", [rows, columns])?);
    let copy = Embed { ids: queue.tensor("ids", DType::U32, &[rows])?, weight, out };
    queue.seal();
    for (stream, view) in [product.x, product.weight, product.residual, weight].into_iter().enumerate() {
        let out = View::new(view.buffer, 0, view.dtype, &[view.elements() as u32]);
        queue.run(RandomFill { out, seed: 1, stream: stream as u64, scale: 0.02 })?;
    }
    queue.upload(copy.ids, &(0..rows).flat_map(u32::to_le_bytes).collect::<Vec<u8>>())?;
    let mut best = |op: Op| -> Result<f64, QueueError> {
        let mut least = f64::INFINITY;
        for _ in 0..8 {
            queue.wait()?;
            let began = Instant::now();
            queue.run(op)?;
            queue.wait()?;
            least = least.min(began.elapsed().as_secs_f64());
        }
        Ok(least)
    };
    let moved = 2 * copy.out.elements() as u64 * activation.bytes();
    Ok(Ceilings {
        bytes: moved as f64 / best(copy.into())?,
        flops: Op::from(product).cost().flops as f64 / best(product.into())?,
    })
}
