//! `plot`: pictures of runs.

use crate::folder::Folder;

/// A run of some steps whose loss falls, with held-out losses at every fifth.
fn metrics(steps: u64) -> String {
    let line = |step: u64| {
        let (loss, rate) = (2.0 + 6.0 / step as f64, 1e-3 / step as f64);
        let held_out =
            if step.is_multiple_of(5) { format!(",\"val_loss/web\":{}", loss + 0.1) } else { String::new() };
        format!(
            "{{\"step\":{step},\"consumed_tokens\":{},\"lm_loss\":{loss},\"lr\":{rate},\"grad_norm\":{},\
             \"tokens_per_sec\":{}{held_out}}}\n",
            step * 4096,
            1.0 / loss,
            5_000 + step % 7
        )
    };
    (1..=steps).map(line).collect()
}

fn two_runs() -> Folder {
    let folder = Folder::new();
    folder.put("runs/a/metrics.jsonl", metrics(60));
    folder.put("runs/b/metrics.jsonl", metrics(40));
    folder
}

#[test]
fn a_trained_run_is_drawn_into_its_own_folder() {
    let folder = Folder::trained();
    let outcome = folder.succeed(["plot", "run"]);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("run/plots/metrics.svg\n", ""));
    let svg = String::from_utf8(folder.read("run/plots/metrics.svg")).unwrap();
    for heading in ["loss", "held-out loss", "learning rate", "gradient norm", "tokens/s"] {
        assert!(svg.contains(&format!(">{heading}</text>")), "{heading}");
    }
}

#[test]
fn equal_metrics_give_equal_pictures() {
    let (one, other) = (two_runs(), two_runs());
    for output in ["p.svg", "p.png"] {
        let draw = |folder: &Folder| {
            folder.succeed(["plot", "runs/a", "runs/b", "--output", output]);
            folder.read(output)
        };
        let picture = draw(&one);
        assert!(picture == draw(&other) && picture == draw(&one), "{output}");
    }
    assert!(one.read("p.png").starts_with(b"\x89PNG\r\n\x1a\n"));
    one.succeed(["plot", "runs/a", "runs/b", "--output", "dark.png", "--theme", "dark"]);
    assert!(one.read("dark.png") != one.read("p.png"));
}

#[test]
fn a_picture_goes_where_it_is_told() {
    let folder = two_runs();
    for (args, written) in [
        (&["plot", "runs/a/metrics.jsonl"][..], "runs/a/plots/metrics.svg"),
        (&["plot", "runs/b", "runs/a"], "runs/b/plots/comparison.svg"),
        (&["plot", "runs/a", "--output", "deep/er/x.PNG"], "deep/er/x.PNG"),
        (&["plot", "runs/a", "--output", "new/"], "new/metrics.svg"),
        (&["plot", "runs/a", "--output", "runs"], "runs/metrics.svg"),
    ] {
        assert_eq!(folder.succeed(args).stdout, format!("{written}\n"));
        assert!(!folder.read(written).is_empty());
    }
    let svg = folder.succeed(["plot", "runs/a", "--output", "-"]).stdout;
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    let error = folder.fail(["plot", "runs/a", "--output", "a.pdf"]);
    assert!(error.contains("--output a.pdf: expected a name that ends in .svg or .png"), "{error}");
}

#[test]
fn what_is_drawn_can_be_chosen() {
    let folder = two_runs();
    let draw = |args: &[&str]| folder.succeed(["plot", "runs/a", "--output", "-"].iter().chain(args)).stdout;
    let svg = draw(&["--metrics", "loss,lr", "--x", "tokens", "--title", "A <fine> run", "--smooth", "10"]);
    assert!(svg.contains(">A &lt;fine&gt; run</text>") && svg.contains(">tokens</text>"));
    assert!(svg.contains(">loss</text>") && !svg.contains(">gradient norm</text>"));
    assert!(draw(&["--metrics", "val_loss/*"]).contains(">val_loss/web</text>"));
    assert!(draw(&["--log-y"]) != draw(&[]) && draw(&["--log-y=loss"]) != draw(&["--log-y"]));
    assert!(draw(&["--from", "20", "--to", "30"]) != draw(&[]));
    assert!(draw(&["--log-y=loss,lr"]) != draw(&["--log-y=loss"]));
    let error = folder.fail(["plot", "runs/a", "--log-y=los"]);
    assert!(
        error.contains("--log-y=los: no panel shows that; the panels are accuracy, correct_length,"),
        "{error}"
    );
    let error = folder.fail(["plot", "runs/a", "--metrics", "los"]);
    assert!(
        error.contains("no run has `los`; there are: consumed_tokens, grad_norm, lm_loss, lr,"),
        "{error}"
    );
}

#[test]
fn a_killed_run_is_drawn_and_a_damaged_one_named() {
    let folder = Folder::new();
    folder.put("run/metrics.jsonl", metrics(9) + "{\"step\":10,\"lm_l");
    let outcome = folder.succeed(["plot", "run"]);
    assert!(
        outcome.stderr.contains("note: run/metrics.jsonl:10: the last line is incomplete"),
        "{outcome:?}"
    );
    folder.put("run/metrics.jsonl", metrics(3).replace("\"step\":2", "\"step\":"));
    let error = folder.fail(["plot", "run"]);
    assert!(error.starts_with("error: run/metrics.jsonl:2: "), "{error}");
    folder.put("empty/metrics.jsonl", "");
    assert!(folder.fail(["plot", "empty"]).contains("no step has been written yet"));
    assert!(folder.fail(["plot", "."]).contains("holds no metrics.jsonl: give the folder of a run"));
    assert!(folder.fail(["plot", "none"]).contains("cannot read none"));
}

#[test]
fn help_says_what_can_be_drawn() {
    insta::assert_snapshot!("help_plot", Folder::new().succeed(["plot", "--help"]).stdout);
}
