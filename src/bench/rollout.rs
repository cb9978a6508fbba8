//! `bench rollout`: how fast does this device generate, and how far is that from what it could do?

use crate::io::{LineWriter, say};
use crate::model::parse_device;
use anyhow::{Result, bail};
use octo_infer::{Event, Limits, Request, RequestId, Rollout, Sampling, Session, Work};
use octo_model::{ModelConfig, Net};
use octo_ops::philox::{Purpose, draw};
use octo_proof::{Ceilings, ceilings};
use octo_queue::{DeviceKind, Queue, open};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

/// Arguments of `bench rollout`.
#[derive(clap::Args)]
pub struct Args {
    /// Shape: tiny, small (30M, of the CPU figures), 1b, 3b or 8b. Weights are random.
    #[arg(long, default_value = "small", value_parser = parse_shape)]
    model: Shape,
    /// Where to compute: auto, cpu, cuda or sim.
    #[arg(long, default_value = "auto", value_parser = parse_device)]
    device: DeviceKind,
    /// CPU threads, also of the simulated GPU; all of the machine's by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Prompts.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    prompts: u32,
    /// Samples of each prompt.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 10))]
    samples: u32,
    /// Requests under way at once; as one ends, the next is submitted.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 14))]
    streams: u32,
    /// Tokens of a prompt.
    #[arg(long, default_value_t = 32, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    prompt_tokens: u32,
    /// Shortest continuation; lengths are uniform between this and the longest.
    #[arg(long, default_value_t = 16, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    least: u32,
    /// Longest continuation.
    #[arg(long, default_value_t = 256, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    most: u32,
    /// Rows of one pass.
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    rows: u32,
    /// Tokens that the cache holds; enough for all streams at their longest by default.
    #[arg(long, value_name = "TOKENS")]
    cache_tokens: Option<u32>,
    /// Divides the logits; 0 takes the likeliest token.
    #[arg(long, default_value_t = 1.0, value_name = "T", value_parser = parse_temperature)]
    temperature: f32,
    /// Of prompts, lengths and draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Rollouts, one after the other.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Bytes the device moves a second; measured on copies by default.
    #[arg(long, value_name = "GB/s", requires = "tflops")]
    bandwidth: Option<f64>,
    /// Operations the device does a second; measured on a large product by default.
    #[arg(long, value_name = "TFLOP/s", requires = "bandwidth")]
    tflops: Option<f64>,
    /// Write a line for each rollout here.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Sizes of a model: hidden, layers, heads, key-value heads, head dimension, feed-forward, vocabulary, tied head.
#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    sizes: [u32; 7],
    tied: bool,
}

const SHAPES: [Shape; 5] = [
    Shape { name: "tiny", sizes: [64, 2, 4, 2, 16, 96, 512], tied: false },
    Shape { name: "small", sizes: [512, 8, 8, 4, 64, 1536, 4096], tied: false },
    Shape { name: "1b", sizes: [2048, 16, 32, 8, 64, 8192, 128_256], tied: true },
    Shape { name: "3b", sizes: [3072, 28, 24, 8, 128, 8192, 128_256], tied: true },
    Shape { name: "8b", sizes: [4096, 32, 32, 8, 128, 14336, 128_256], tied: false },
];

fn parse_shape(name: &str) -> Result<Shape, String> {
    let found = SHAPES.into_iter().find(|shape| shape.name == name);
    found.ok_or_else(|| format!("not a shape; shapes are {}", SHAPES.map(|shape| shape.name).join(", ")))
}

fn parse_temperature(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| "not a number".to_owned())?;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err("expected 0 or more".into()) }
}

impl Shape {
    fn config(&self, positions: u32) -> Result<ModelConfig> {
        let [hidden, layers, heads, kv_heads, head_dim, ffn, vocab] = self.sizes;
        let config = json!({
            "model_type": "llama", "hidden_size": hidden, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim,
            "intermediate_size": ffn, "vocab_size": vocab, "tie_word_embeddings": self.tied,
            "max_position_embeddings": positions,
        });
        Ok(ModelConfig::from_value(config, "bench rollout")?)
    }
}

/// What one rollout came to.
#[derive(Serialize)]
struct Line<'a> {
    device: &'a str,
    model: &'a str,
    requests: u64,
    streams: u32,
    prompt_tokens: u32,
    /// Tokens drawn.
    tokens: u64,
    seconds: f64,
    tokens_per_second: f64,
    /// From a request's submission, \[median, 95 of a hundred, longest\].
    seconds_to_first_token: [f64; 3],
    /// Part of the cache's pages in use, \[mean over passes, most\].
    kv_use: [f64; 2],
    kv_pages: usize,
    preemptions: u64,
    passes: u64,
    rows_per_pass: f64,
    /// Least seconds that bytes and operations of the passes take at the device's rates.
    bound_seconds: Option<f64>,
    /// `bound_seconds` / `seconds`.
    fraction_of_bound: Option<f64>,
}

/// Runs `bench rollout`.
pub fn run(args: Args) -> Result<()> {
    if args.least > args.most {
        bail!("--least {} is more than --most {}", args.least, args.most);
    }
    let context = args.prompt_tokens + args.most;
    let ceilings = match (args.bandwidth, args.tflops) {
        (Some(bandwidth), Some(tflops)) => Some(Ceilings { bytes: bandwidth * 1e9, flops: tflops * 1e12 }),
        // A simulated GPU has no rates of its own.
        _ if args.device == DeviceKind::Sim => None,
        _ => Some(ceilings(&mut open(args.device, args.threads.map(|n| n as usize))?)?),
    };
    let mut queue = open(args.device, args.threads.map(|n| n as usize))?;
    let info = queue.describe();
    let config = args.model.config(context)?;
    let net = Net::allocate(&mut queue, config, info.precision.weights[0], context)?;
    let full = u64::from(args.streams) * u64::from(context.next_multiple_of(64));
    let limits = Limits {
        rows: args.rows,
        requests: args.streams,
        context,
        cache_tokens: args.cache_tokens.unwrap_or_else(|| full.min(u32::MAX.into()) as u32),
    };
    let mut session = Session::allocate(&mut queue, &net, limits)?;
    queue.seal();
    net.randomise(&mut queue, args.seed, None)?;
    let shape = Costs::of(&net, info.precision.activations.bytes());
    let mut lines = LineWriter::open(args.output.as_deref())?;
    say(&info.description)?;
    for _ in 0..args.repeat {
        let timed = rollout(&args, &mut queue, &net, &mut session, &shape, ceilings)?;
        let line = timed.line(&args, &info.description);
        tell(&line)?;
        lines.write(&line)?;
    }
    Ok(())
}

fn tell(line: &Line<'_>) -> Result<()> {
    let [median, late, longest] = line.seconds_to_first_token.map(|seconds| seconds * 1e3);
    say(&format!(
        "{:.1} tokens/s: {} tokens of {} requests in {:.2} s, {} passes of {:.1} rows",
        line.tokens_per_second, line.tokens, line.requests, line.seconds, line.passes, line.rows_per_pass
    ))?;
    say(&format!(
        "  first token after {median:.0} ms (median), {late:.0} ms (95 %), {longest:.0} ms (longest)"
    ))?;
    say(&format!(
        "  KV cache: {:.0} % of {} pages in use, {:.0} % at most; {} preemptions",
        100.0 * line.kv_use[0],
        line.kv_pages,
        100.0 * line.kv_use[1],
        line.preemptions
    ))?;
    match line.fraction_of_bound {
        Some(fraction) => say(&format!("  {:.0} % of the bound by bytes and operations", 100.0 * fraction)),
        None => Ok(()),
    }
}

/// Bytes and operations of a pass, by what it does.
struct Costs {
    /// Of all layers' matrices.
    weights: u64,
    /// Of the head's.
    head: u64,
    /// Bytes of a weight.
    weight_bytes: u64,
    /// Bytes of a key with its value, in all layers.
    key_bytes: u64,
}

impl Costs {
    fn of(net: &Net, activation_bytes: u64) -> Costs {
        let c = &net.config;
        let head = u64::from(c.vocab_size) * u64::from(c.hidden_size);
        let kv = u64::from(c.num_key_value_heads) * u64::from(c.head_dim);
        Costs {
            weights: net.params.matmul_parameter_count() - head,
            head,
            weight_bytes: net.weights.dtype.bytes(),
            key_bytes: 2 * kv * u64::from(c.num_hidden_layers) * activation_bytes,
        }
    }

    /// Least seconds of one pass: its weights and keys read once, or its products.
    fn bound(&self, pass: Work, at: Ceilings) -> f64 {
        let head = if pass.draws > 0 { self.head } else { 0 };
        let bytes = (self.weights + head) * self.weight_bytes + pass.keys * self.key_bytes;
        let flops = 2 * (self.weights * pass.rows + self.head * pass.draws);
        (bytes as f64 / at.bytes).max(flops as f64 / at.flops)
    }
}

struct Timed {
    seconds: f64,
    tokens: u64,
    firsts: Vec<f64>,
    used: [f64; 2],
    pages: usize,
    preemptions: u64,
    work: Work,
    bound: Option<f64>,
}

/// All prompts once.
fn rollout(
    args: &Args,
    queue: &mut Queue,
    net: &Net,
    session: &mut Session,
    costs: &Costs,
    ceilings: Option<Ceilings>,
) -> Result<Timed> {
    let mut left = (0..args.prompts).flat_map(|p| (0..args.samples).map(move |s| (p, s)));
    let mut rollout = Rollout::new(session);
    let mut submitted: BTreeMap<RequestId, Instant> = BTreeMap::new();
    let (mut firsts, mut tokens, mut under_way) = (Vec::new(), 0, 0);
    let (mut used, mut most, mut bound) = (0.0, 0.0f64, 0.0);
    let began = Instant::now();
    loop {
        while under_way < args.streams
            && let Some((prompt, sample)) = left.next()
        {
            let id = rollout.submit(request(args, net.config.vocab_size, prompt, sample))?;
            submitted.insert(id, Instant::now());
            under_way += 1;
        }
        if rollout.is_idle() {
            break;
        }
        let before = rollout.work();
        for event in rollout.step(queue, net)? {
            match event {
                Event::Token { id, .. } => {
                    tokens += 1;
                    firsts.extend(submitted.remove(&id).map(|at| at.elapsed().as_secs_f64()));
                }
                Event::Finished { .. } => under_way -= 1,
            }
        }
        let (load, after) = (rollout.load(), rollout.work());
        if after.passes > before.passes {
            let part = load.pages_used as f64 / load.pages as f64;
            (used, most) = (used + part, most.max(part));
            let pass = Work {
                passes: 1,
                rows: after.rows - before.rows,
                draws: after.draws - before.draws,
                keys: after.keys - before.keys,
            };
            bound += ceilings.map_or(0.0, |at| costs.bound(pass, at));
        }
    }
    let (work, load) = (rollout.work(), rollout.load());
    firsts.sort_by(f64::total_cmp);
    Ok(Timed {
        seconds: began.elapsed().as_secs_f64(),
        tokens,
        firsts,
        used: [used / work.passes.max(1) as f64, most],
        pages: load.pages,
        preemptions: load.preemptions,
        work,
        bound: ceilings.map(|_| bound),
    })
}

impl Timed {
    fn line<'a>(&self, args: &'a Args, device: &'a str) -> Line<'a> {
        let rank = |part: f64| {
            let at = (part * self.firsts.len() as f64) as usize;
            self.firsts.get(at.min(self.firsts.len().saturating_sub(1))).copied().unwrap_or(0.0)
        };
        Line {
            device,
            model: args.model.name,
            requests: u64::from(args.prompts) * u64::from(args.samples),
            streams: args.streams,
            prompt_tokens: args.prompt_tokens,
            tokens: self.tokens,
            seconds: self.seconds,
            tokens_per_second: self.tokens as f64 / self.seconds,
            seconds_to_first_token: [rank(0.5), rank(0.95), rank(1.0)],
            kv_use: self.used,
            kv_pages: self.pages,
            preemptions: self.preemptions,
            passes: self.work.passes,
            rows_per_pass: self.work.rows as f64 / self.work.passes.max(1) as f64,
            bound_seconds: self.bound,
            fraction_of_bound: self.bound.map(|bound| bound / self.seconds),
        }
    }
}

/// A pure function of its arguments: random tokens, a length that nothing cuts short.
fn request(args: &Args, vocab: u32, prompt: u32, sample: u32) -> Request {
    let word = |stream: u64, index: u32| draw(args.seed, Purpose::Sample, stream, index)[0];
    let stream = u64::from(prompt);
    let lengths = args.most - args.least + 1;
    // Lengths are drawn beside the prompts' tokens, whose index is below their number.
    let length = args.least + word(stream | 1 << 32, sample) % lengths;
    Request {
        prompt: (0..args.prompt_tokens).map(|i| word(stream, i) % vocab).collect(),
        max_new_tokens: length as usize,
        sampling: Sampling { temperature: args.temperature, top_k: 0, top_p: 1.0, min_p: 0.0 },
        seed: args.seed.wrapping_add(stream),
        sample,
        stop_tokens: Vec::new(),
        support: false,
    }
}
