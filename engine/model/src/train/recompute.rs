//! What the backward pass computes again instead of having it kept (Chen et al., 2016, "Training Deep Nets with
//! Sublinear Memory Cost"; which parts pay off: Korthikanti et al., 2022, section 5).

/// Which activations of a block the backward pass computes again. Each does all of the one before and more: it keeps
/// less and computes more. Gradients have the same bits whichever is chosen, because what is computed again are the
/// same ops on the same operands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recompute {
    /// Nothing: every activation is kept.
    #[default]
    None,
    /// Both norms and the product of SwiGLU: bound by memory, about a hundredth of a step.
    NormSwiglu,
    /// Gate and up too: one more product of matrices, the widest of a block.
    Ffn,
    /// All of a block but the stream it comes from: a third of the products of a step again.
    Block,
}

/// A part of what a block leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A norm's result and its 1/rms.
    Norm,
    /// silu(gate) · up.
    Product,
    /// Gate and up.
    GateUp,
    /// q, k, v, the attention's result and log-sum-exp, and the stream after it.
    Attention,
    /// The stream after the block, which the next one begins with: always kept.
    Stream,
}

impl Recompute {
    /// All there are, from the one that keeps most to the one that keeps least.
    pub const ALL: [Recompute; 4] =
        [Recompute::None, Recompute::NormSwiglu, Recompute::Ffn, Recompute::Block];

    /// The name in recipes and listings.
    pub fn name(self) -> &'static str {
        match self {
            Recompute::None => "none",
            Recompute::NormSwiglu => "norm_swiglu",
            Recompute::Ffn => "ffn",
            Recompute::Block => "block",
        }
    }

    /// Whether one buffer serves all layers, because the backward pass computes this again.
    pub(super) fn again(self, part: Part) -> bool {
        match part {
            Part::Norm | Part::Product => self >= Recompute::NormSwiglu,
            Part::GateUp => self >= Recompute::Ffn,
            Part::Attention => self >= Recompute::Block,
            Part::Stream => false,
        }
    }
}
