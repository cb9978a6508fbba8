//! stub
use crate::{Matrix, MatrixMut};
use half::bf16;
/// w
#[derive(Clone, Copy)]
pub enum Weight<'a> {
    /// f
    F32(Matrix<'a>),
    /// b
    Bf16(Matrix<'a, bf16>),
}
impl Weight<'_> {
    /// r
    pub fn rows(&self) -> usize {
        match self {
            Weight::F32(m) => m.rows(),
            Weight::Bf16(m) => m.rows(),
        }
    }
    fn row(&self, i: usize) -> Vec<f32> {
        match self {
            Weight::F32(m) => m.row(i).to_vec(),
            Weight::Bf16(m) => m.row(i).iter().map(|v| v.to_f32()).collect(),
        }
    }
}
/// t
pub struct Tile<'a> {
    /// a
    pub row0: usize,
    /// a
    pub col0: usize,
    /// a
    pub rows: usize,
    /// a
    pub cols: usize,
    /// a
    pub data: &'a mut [f32],
    /// a
    pub stride: usize,
}
/// f
pub fn forward(x: Matrix<'_>, w: Weight<'_>, _m: usize, f: impl Fn(Tile<'_>) + Sync) {
    let n = w.rows();
    let mut out = vec![0.0; x.rows() * n];
    for j in 0..n {
        let w = w.row(j);
        for i in 0..x.rows() {
            out[i * n + j] = x.row(i).iter().zip(&w).fold(0.0, |a: f32, (x, y)| x.mul_add(*y, a));
        }
    }
    f(Tile { row0: 0, col0: 0, rows: x.rows(), cols: n, data: &mut out, stride: n });
}
/// g
pub fn input_gradient(dy: Matrix<'_>, w: Weight<'_>, dx: MatrixMut<'_>) {
    for i in 0..dy.rows() {
        let to = unsafe { dx.row_segment(i, 0, dx.cols()) };
        to.fill(0.0);
        for j in 0..w.rows() {
            let d = dy.row(i)[j];
            for (t, w) in to.iter_mut().zip(w.row(j)) {
                *t += d * w;
            }
        }
    }
}
/// g
pub fn weight_gradient(dy: Matrix<'_>, x: Matrix<'_>, dw: &mut [f32], acc: bool) {
    if !acc {
        dw.fill(0.0);
    }
    let k = x.cols();
    for i in 0..dy.rows() {
        for j in 0..dy.cols() {
            let d = dy.row(i)[j];
            for (t, x) in dw[j * k..][..k].iter_mut().zip(x.row(i)) {
                *t += d * x;
            }
        }
    }
}
