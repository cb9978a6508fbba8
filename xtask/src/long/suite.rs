//! The suites themselves.

use super::compare::{Reached, differences, kept};
use super::log::{Header, Kill, Line, Log};
use super::scene::{Ended, Scene};
use super::{Options, Suite};
use anyhow::{Context, Result};
use octo_ops::philox::{philox4x32_10, uniform};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64;

/// Most kills of one run.
const MOST_KILLS: u64 = 5;

/// What the recipe is made shorter by in `operations`: every operation is a run of its own.
const SHORTER: [&str; 6] = [
    "stages.0.steps=5",
    "stages.1.steps=3",
    "samples.every_steps=4",
    "checkpoints.every_steps=3",
    "checkpoints.milestones=3072",
    "checkpoints.milestone_state=6144",
];

/// Runs a suite to its end. Returns how many runs ended with other bits than the one left alone.
pub fn run(
    suite: Suite,
    options: &Options,
    program: &Path,
    folder: &Path,
    log: &Path,
    commit: &str,
) -> Result<u64> {
    let bytes = std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let header = Header {
        suite,
        seed: options.seed,
        commit: commit.to_owned(),
        program: format!("{:016x}", xxh3_64(&bytes)),
        machine: machine(),
    };
    let mut log = Log::open(log, &header)?;
    if !log.done {
        let scene = Scene::set(folder, program, if suite == Suite::Kills { &[] } else { &SHORTER })?;
        let (whole, took) = scene.whole()?;
        eprintln!("{}: left alone the run takes {:.1} s", suite.name(), took.as_secs_f64());
        let killing = Killing { whole: kept(&whole)?, took, scene };
        match suite {
            Suite::Kills => killing.at_random_moments(options.seed, options.kills, &mut log)?,
            _ => killing.before_each_operation(&mut log)?,
        }
    }
    let summary = log.finish()?;
    eprintln!("{}: {}", suite.name(), serde_json::to_string(&summary)?);
    Ok(summary.unequal)
}

struct Killing {
    scene: Scene,
    /// What the run left alone has left.
    whole: BTreeMap<String, Vec<u8>>,
    /// How long that took.
    took: Duration,
}

impl Killing {
    /// Runs, each killed at one or several random moments, until so many kills have hit.
    fn at_random_moments(&self, seed: u64, wanted: u64, log: &mut Log) -> Result<()> {
        let hit = |log: &Log| log.lines().iter().map(|line| line.kills.len() as u64).sum::<u64>();
        let (began, before) = (Instant::now(), hit(log));
        while hit(log) < wanted {
            let run = log.lines().len() as u64;
            let line = self.run(run, |kill| {
                let [moment, goes_on] = draw(seed, run, kill);
                // One kill in half of the runs, two in a quarter, and so on.
                (kill == 0 || (kill < MOST_KILLS && goes_on < 0.5)).then(|| self.took.mul_f64(moment))
            })?;
            let now = (hit(log) + line.kills.len() as u64).min(wanted);
            tell(&line, now, wanted, began.elapsed().div_f64((now - before).max(1) as f64));
            log.add(line)?;
        }
        Ok(())
    }

    /// A run that is killed at the moments given for its kills, from 0, and then left to end.
    fn run(&self, run: u64, moment: impl Fn(u64) -> Option<Duration>) -> Result<Line> {
        let mut kills = Vec::new();
        while let Some(after) = moment(kills.len() as u64) {
            match self.scene.start(None)?.kill_after(after)? {
                Ended::Killed => kills.push(Kill {
                    after_ms: Some((after.as_secs_f64() * 1e4).round() / 10.0),
                    operation: None,
                    reached: Reached::of(&self.scene.run()),
                }),
                // It was quicker than its killer: nothing is left to kill.
                Ended::Done => return self.compared(run, kills),
                Ended::Failed(why) => return self.failed(run, kills, why),
            }
        }
        self.ended(run, kills)
    }

    /// Runs, each killed before another operation on the disk, until one has fewer.
    fn before_each_operation(&self, log: &mut Log) -> Result<()> {
        loop {
            let run = log.lines().len() as u64;
            let line = match self.scene.start(Some(run))?.wait()? {
                Ended::Killed => {
                    let reached = Reached::of(&self.scene.run());
                    self.ended(run, vec![Kill { after_ms: None, operation: Some(run), reached }])?
                }
                Ended::Failed(why) => self.failed(run, Vec::new(), why)?,
                Ended::Done => return Ok(()),
            };
            eprintln!("operation {run}: {}", verdict(&line));
            log.add(line)?;
        }
    }

    /// Lets a run that was killed go on to its end.
    fn ended(&self, run: u64, kills: Vec<Kill>) -> Result<Line> {
        match self.scene.start(None)?.wait()? {
            Ended::Done => self.compared(run, kills),
            Ended::Killed => self.failed(run, kills, "it was killed by somebody else".into()),
            Ended::Failed(why) => self.failed(run, kills, why),
        }
    }

    fn compared(&self, run: u64, kills: Vec<Kill>) -> Result<Line> {
        let differs = differences(&self.whole, &kept(&self.scene.run())?);
        let equal = differs.is_empty();
        if equal {
            std::fs::remove_dir_all(self.scene.run())?;
        } else {
            self.scene.aside(&format!("unequal-{run}"))?;
        }
        Ok(Line { run, kills, equal, differs })
    }

    fn failed(&self, run: u64, kills: Vec<Kill>, why: String) -> Result<Line> {
        self.scene.aside(&format!("failed-{run}"))?;
        Ok(Line { run, kills, equal: false, differs: vec![why] })
    }
}

/// Two numbers in (0, 1) for a kill of a run.
fn draw(seed: u64, run: u64, kill: u64) -> [f64; 2] {
    let counter = [run as u32, (run >> 32) as u32, kill as u32, 0];
    let [moment, goes_on, _, _] = philox4x32_10(counter, [seed as u32, (seed >> 32) as u32]);
    [uniform(moment), uniform(goes_on)]
}

/// A line about a run, with how far the suite is.
fn tell(line: &Line, kills: u64, wanted: u64, per_kill: Duration) {
    let left = per_kill.mul_f64((wanted - kills) as f64).as_secs();
    eprintln!(
        "run {}: {}; {kills} of {wanted} kills, {}:{:02} left",
        line.run,
        verdict(line),
        left / 60,
        left % 60
    );
}

fn verdict(line: &Line) -> String {
    let kill = |kill: &Kill| {
        let at = kill.after_ms.map_or(String::new(), |ms| format!("after {ms:.0} ms "));
        let saving = if kill.reached.saving { " while saving" } else { "" };
        format!("killed {at}at step {}{saving}", kill.reached.steps)
    };
    let kills: Vec<String> = line.kills.iter().map(kill).collect();
    let end = if line.equal { "equal".to_owned() } else { format!("UNEQUAL: {}", line.differs.join(", ")) };
    [kills.join(", "), end].join("; ")
}

/// The processor's name and how many there are; for whoever reads the log.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} × {}", name.map_or("unknown processor", |(_, name)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_hang_on_seed_run_and_kill_and_fall_everywhere() {
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        assert!(draw(1, 2, 3) != draw(2, 2, 3) && draw(1, 2, 3) != draw(1, 3, 3));
        let mut tenths = [0; 10];
        for run in 0..1000 {
            tenths[(draw(1, run, 0)[0] * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|&n| (70..130).contains(&n)), "{tenths:?}");
    }
}
