//! The one table of ops: what each reads, writes and computes. `spec.rs` says what a row becomes.

use crate::spec::{Access, Cost, Operand, Spec, ops, product};
use crate::{DType, HostMemory, OpError, Real, Rounding, View};

ops! {
    /// out\[t\] = weight\[ids\[t\]\].
    Embed "embed" {
        /// Token ids, u32 \[tokens\].
        read ids,
        /// Embedding matrix \[vocab, hidden\].
        read weight,
        /// Residual stream \[tokens, hidden\].
        write out,
    }

    /// y = s · rstd · weight with rstd = 1/√(mean(s²) + eps), per row (Zhang and Sennrich, 2019), where s is
    /// x, or x + residual rounded to the activations' dtype.
    RmsNorm "rms_norm" {
        /// Rows \[tokens, hidden\].
        read x,
        /// Added to `x`, \[tokens, hidden\]; comes with `sum`.
        opt_read residual,
        /// Gain \[hidden\].
        read weight,
        /// Rows \[tokens, hidden\].
        write y,
        /// s, the stream as it goes on, \[tokens, hidden\]; comes with `residual`.
        opt_write sum,
        /// 1/√(mean(s²) + eps), f32 \[tokens\].
        write rstd;
        /// Added to the mean square.
        eps: f32,
    }

    /// q, k, v = x · weightᵀ + bias; q and k rotated by position (Su et al., 2021; Hugging Face's order of
    /// the head dimension: element d pairs with d + head_dim/2).
    QkvRope "qkv_rope" {
        /// Normed rows \[tokens, hidden\].
        read x,
        /// \[q|k|v\] as \[(heads + 2·kv_heads)·head_dim, hidden\].
        read weight,
        /// \[(heads + 2·kv_heads)·head_dim\].
        opt_read bias,
        /// cos(half) | sin(half), f32 \[positions, head_dim\].
        read rope,
        /// Position of each row in its document, u32 \[tokens\].
        read positions,
        /// With pages: where each row's k and v go, page·64 + offset, u32 \[tokens\].
        opt_read slots,
        /// \[tokens, heads·head_dim\].
        write q,
        /// \[tokens, kv_heads·head_dim\], or pages \[pages, kv_heads, 64, head_dim\] when `slots` is there.
        write k,
        /// As `k`.
        write v,
    }

    /// Causal attention within documents: out = softmax(scale · q·kᵀ) · v, in the canonical order of
    /// `docs/numerics.md`. Row t of document d sits at position t − cu_seqlens\[d\], or at positions\[t\]
    /// when keys come from pages.
    Attention "attention" {
        /// \[tokens, heads·head_dim\].
        read q,
        /// \[tokens, kv_heads·head_dim\], or pages \[pages, kv_heads, 64, head_dim\].
        read k,
        /// As `k`.
        read v,
        /// First row of each document and the end, u32 \[documents + 1\]; trailing documents may be empty.
        read cu_seqlens,
        /// With pages: position of each row, u32 \[tokens\].
        opt_read positions,
        /// With pages: the pages of each document, u32 \[documents, pages a document\].
        opt_read page_table,
        /// \[tokens, heads·head_dim\].
        write out,
        /// Log-sum-exp of each row's scaled scores, f32 \[tokens, heads\].
        write lse;
        /// Elements of a head.
        head_dim: u32,
        /// Multiplies q·k, usually 1/√head_dim.
        scale: f32,
    }

    /// out = residual + x · weightᵀ: the attention's and the feed-forward's way back into the stream.
    LinearResidual "linear_residual" {
        /// \[tokens, k\].
        read x,
        /// \[hidden, k\].
        read weight,
        /// \[tokens, hidden\].
        read residual,
        /// \[tokens, hidden\].
        write out,
    }

    /// product = silu(gate) · up with \[gate, up\] = x · weightᵀ, rows interleaved in eights (Shazeer, 2020);
    /// gate and up are rounded to the activations' dtype before.
    GateUpSwiglu "gate_up_swiglu" {
        /// \[tokens, hidden\].
        read x,
        /// Eight gate rows, eight up rows, and so on: \[2·ffn, hidden\].
        read weight,
        /// \[tokens, ffn\].
        write product,
        /// Gate and up as they leave the product, interleaved, \[tokens, 2·ffn\]; kept for the backward pass.
        opt_write gate_up,
    }

    /// product = silu(gate) · up from gate and up as [`GateUpSwiglu`] has kept them: its bits again, without its product
    /// of matrices.
    Swiglu "swiglu" {
        /// Gate and up interleaved in eights, \[tokens, 2·ffn\].
        read gate_up,
        /// \[tokens, ffn\].
        write product,
    }

    /// Cross-entropy of the next token with its gradient, logits never whole:
    /// loss = lse − logit\[label\], dlogits = (softmax − onehot)·inv_targets.
    HeadLoss "head_loss" {
        /// Final-normed rows \[tokens, hidden\].
        read hidden,
        /// \[vocab, hidden\].
        read weight,
        /// Next token, or −1 for none, i32 \[tokens\].
        read labels,
        /// A [`crate::StepBlock`].
        read step_block,
        /// Loss of each row in nats, 0 without a label, f32 \[tokens\].
        write loss,
        /// Gradient of `hidden`.
        write dhidden,
        /// Gradient of `weight`, f32.
        update dweight;
        /// Whether `dweight` is added to, or overwritten.
        accumulate: bool,
    }

    /// Log-probability of each label: logit\[label\] − lse; 0 without a label.
    HeadLogprob "head_logprob" {
        /// Final-normed rows \[tokens, hidden\].
        read hidden,
        /// \[vocab, hidden\].
        read weight,
        /// i32 \[tokens\]; −1 for none.
        read labels,
        /// f32 \[tokens\].
        write logprob,
    }

    /// Draws the next token of each row (see [`crate::SamplingRow`] for the order of the cuts).
    HeadSample "head_sample" {
        /// Final-normed rows \[rows, hidden\].
        read hidden,
        /// \[vocab, hidden\].
        read weight,
        /// One [`crate::SamplingRow`] a row, u32 \[rows, SamplingRow::WORDS\].
        read sampling,
        /// u32 \[rows\].
        write tokens,
        /// Log-probability of the token under the model itself, f32 \[rows\].
        write logprob_raw,
        /// Log-probability under the distribution that was sampled from, f32 \[rows\].
        write logprob_sampled,
        /// The tokens that the cuts have kept (see [`crate::support`]), u32 \[rows, ⌈vocab/32⌉\].
        opt_write support,
    }

    /// What a policy loss reads of each row's label, under the distribution that is sampled from, logits never whole:
    /// with x = logit · inv_temperature over the support, logprob = x\[label\] − lse, lse = ln Σ e^x and
    /// entropy = −Σ p·ln p. `logprob` has the bits of [`HeadSample`]'s `logprob_sampled` for the same row, temperature
    /// and support. All three are 0 without a label.
    HeadPolicy "head_policy" {
        /// Final-normed rows \[tokens, hidden\].
        read hidden,
        /// \[vocab, hidden\].
        read weight,
        /// The token that was drawn, or −1 for none, i32 \[tokens\].
        read labels,
        /// 1/temperature, above 0, rounded once, f32 \[tokens\]: rows that were drawn greedily have no such loss.
        read inv_temperature,
        /// The tokens that could be drawn (see [`crate::support`]), u32 \[tokens, ⌈vocab/32⌉\]; without it, all.
        opt_read support,
        /// f32 \[tokens\]; −∞ for a label outside the support.
        write logprob,
        /// f32 \[tokens\].
        write lse,
        /// Nats, f32 \[tokens\].
        write entropy,
    }

    /// Gradients of Σ coefficient·logprob + entropy_coefficient·entropy with [`HeadPolicy`]'s log-probabilities and
    /// entropies: inside the support dlogits = inv_temperature·(coefficient·(onehot − p) −
    /// entropy_coefficient·p·(ln p + entropy)) with p = e^(logit·inv_temperature − lse), outside 0. Rows without a
    /// label, or with both coefficients 0, give exactly 0.
    HeadPolicyBackward "head_policy_backward" {
        /// As in the forward.
        read hidden,
        /// As in the forward.
        read weight,
        /// As in the forward.
        read labels,
        /// As in the forward.
        read inv_temperature,
        /// As in the forward.
        opt_read support,
        /// The forward's result.
        read lse,
        /// The forward's result.
        read entropy,
        /// Derivative of the loss by each log-probability, f32 \[tokens\].
        read coefficient,
        /// Derivative of the loss by each entropy, f32 \[tokens\].
        read entropy_coefficient,
        /// Gradient of `hidden`.
        write dhidden,
        /// Gradient of `weight`, f32.
        update dweight;
        /// Whether `dweight` is added to, or overwritten.
        accumulate: bool,
    }

    /// pages\[l\]\[to\[i\]\] = pages\[l\]\[from\[i\]\]: whole pages of a KV cache, in every layer. No page is
    /// copied to twice, and none that is copied to is copied from.
    CopyPages "copy_pages" {
        /// Pages copied, u32 \[copies\].
        read from,
        /// Where they go, u32 \[copies\].
        read to,
        /// \[layers, pages, elements of a page\]; a page's elements are a multiple of 64.
        update pages,
    }

    /// ids\[t\] = tokens\[source\[t\]\] where source\[t\] is not [`FeedTokens::KEEP`]: what was drawn goes
    /// into the next pass without a way through the host.
    FeedTokens "feed_tokens" {
        /// Tokens drawn, u32 \[draws\].
        read tokens,
        /// Which of them a row takes, or [`FeedTokens::KEEP`], u32 \[rows\].
        read source,
        /// Token ids of the rows, u32 \[rows\].
        update ids,
    }

    /// dx = dy · weight.
    LinearBackwardInput "linear_backward_input" {
        /// \[tokens, n\].
        read dy,
        /// \[n, k\].
        read weight,
        /// \[tokens, k\].
        write dx,
    }

    /// dweight (+)= dyᵀ · x.
    LinearBackwardWeight "linear_backward_weight" {
        /// \[tokens, n\].
        read dy,
        /// \[tokens, k\].
        read x,
        /// f32 \[n, k\].
        update dweight;
        /// Whether `dweight` is added to, or overwritten.
        accumulate: bool,
    }

    /// dbias (+)= column sums of dy.
    BiasBackward "bias_backward" {
        /// \[tokens, n\].
        read dy,
        /// f32 \[n\].
        update dbias;
        /// Whether `dbias` is added to, or overwritten.
        accumulate: bool,
    }

    /// From the gradient of silu(gate)·up to those of gate and up, in the place where these were kept.
    SwigluBackward "swiglu_backward" {
        /// \[tokens, ffn\].
        read dproduct,
        /// Gate and up interleaved in eights on the way in, their gradients on the way out, \[tokens, 2·ffn\].
        update gate_up,
    }

    /// Gradients of q, k and v after rotation. Probabilities and the gradients of scores are rounded to the activations'
    /// dtype where they multiply rows; scale multiplies the sums.
    AttentionBackward "attention_backward" {
        /// \[tokens, heads·head_dim\].
        read q,
        /// \[tokens, kv_heads·head_dim\].
        read k,
        /// As `k`.
        read v,
        /// The forward's result.
        read out,
        /// The forward's log-sum-exp, f32 \[tokens, heads\].
        read lse,
        /// Gradient of `out`.
        read dout,
        /// u32 \[documents + 1\].
        read cu_seqlens,
        /// As `q`.
        write dq,
        /// As `k`.
        write dk,
        /// As `k`.
        write dv;
        /// Elements of a head.
        head_dim: u32,
        /// As in the forward.
        scale: f32,
    }

    /// Rotates the gradients of q and k back, in place.
    RopeBackward "rope_backward" {
        /// cos(half) | sin(half), f32 \[positions, head_dim\].
        read rope,
        /// u32 \[tokens\].
        read positions,
        /// \[tokens, (heads + kv_heads)·head_dim\]: the q and k columns of the fused gradient.
        update dqk,
    }

    /// dx (+)= rstd·(weight·dy − x̂·mean(weight·dy·x̂)), dweight (+)= Σ dy·x̂, with x̂ = x·rstd.
    RmsNormBackward "rms_norm_backward" {
        /// \[tokens, hidden\].
        read dy,
        /// The forward's input.
        read x,
        /// \[hidden\].
        read weight,
        /// f32 \[tokens\].
        read rstd,
        /// \[tokens, hidden\].
        update dx,
        /// f32 \[hidden\].
        update dweight;
        /// Whether `dx` is added to (the residual's own gradient is there), or overwritten.
        accumulate_dx: bool,
        /// Whether `dweight` is added to, or overwritten.
        accumulate: bool,
    }

    /// dweight\[ids\[t\]\] += dx\[t\], rows in ascending t.
    EmbedBackward "embed_backward" {
        /// u32 \[tokens\].
        read ids,
        /// \[tokens, hidden\].
        read dx,
        /// f32 \[vocab, hidden\].
        update dweight;
        /// Whether `dweight` is added to, or overwritten.
        accumulate: bool,
    }

    /// result.loss_sum (+)= Σ loss.
    LossSum "loss_sum" {
        /// f32 \[tokens\].
        read loss,
        /// A [`crate::StepResult`].
        update result;
        /// Whether the sum is added to, or overwritten.
        accumulate: bool,
    }

    /// Norm of the gradient, how much it is clipped (min(1, clip/(norm + 1e-6)), as PyTorch does), and
    /// whether the step must not be taken.
    GradNorm "grad_norm" {
        /// f32 of any shape, without gaps.
        read grad,
        /// A [`crate::StepBlock`].
        read step_block,
        /// A [`crate::StepResult`], whose `loss_sum` is read.
        update result,
    }

    /// Decoupled weight decay (Loshchilov and Hutter, 2019) on one element range of the flat arenas.
    AdamW "adamw" {
        /// f32, or bf16 with a remainder, \[elements\].
        update weight,
        /// With bf16 weights: master = (weight << 16) + remainder, i16 \[elements\]
        /// (see [`crate::master`]). Absent with f32 weights.
        opt_update remainder,
        /// f32 \[elements\].
        read grad,
        /// First moment, f32 or bf16 \[elements\].
        update m,
        /// Second moment, of the same type.
        update v,
        /// A [`crate::StepBlock`].
        read step_block,
        /// A [`crate::StepResult`]: `clip_scale`, and `halted`, on which nothing is written.
        read result;
        /// Decay of the first moment.
        beta1: f32,
        /// Decay of the second moment.
        beta2: f32,
        /// Added to the denominator.
        eps: f32,
        /// Multiplied by the learning rate.
        weight_decay: f32,
        /// With bf16 moments, which are rounded at random after they have served in f32: by which numbers. Absent with
        /// f32 moments.
        rounding: Option<Rounding>,
    }

    /// Random numbers in a bell shape, the same bits on every device: element e is
    /// [`crate::philox::bell`] of the words 2·(e mod 2) and 2·(e mod 2) + 1 of block e/2 of the stream, times
    /// scale·√3/65536 in f32, rounded to the dtype. For tests and benches at a realistic scale.
    RandomFill "random_fill" {
        /// f32 or bf16 of any shape, without gaps.
        write out;
        /// Key of the generator.
        seed: u64,
        /// Stream of [`crate::philox::Purpose::Fill`].
        stream: u64,
        /// Standard deviation.
        scale: f32,
    }
}
