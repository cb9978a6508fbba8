//! `verify`.

use crate::folder::Folder;

#[test]
fn an_answer_is_judged_and_the_reason_given() {
    let folder = Folder::new();
    let out =
        folder.succeed(["verify", "--gold", "\\frac12", "--answer", "So it is \\boxed{0.5}.", "--explain"]);
    assert!(out.stdout.starts_with("equal\nanswer   0.5\n"), "{}", out.stdout);
    assert_eq!(folder.succeed(["verify", "--gold", "-3", "--answer", "3"]).stdout, "not equal\n");
    assert_eq!(folder.succeed(["verify", "--gold", "3", "--answer", "\\frac{"]).stdout, "unparsed\n");
}

#[test]
fn lines_are_judged_in_their_order() {
    let folder = Folder::new();
    folder.put(
        "in.jsonl",
        "{\"gold\": \"5\", \"answer\": \"five is 5\"}\n{\"gold\": \"x=2\", \"answer\": \"3\"}\n",
    );
    let out = folder.succeed(["verify", "--input", "in.jsonl"]).stdout;
    let lines: Vec<serde_json::Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines[0]["equal"], true);
    assert_eq!(lines[0]["answer"], "5");
    assert_eq!(lines[1]["verdict"], "not equal");
    folder.put("rows.jsonl", "{\"id\": 7, \"gold\": \"5\", \"answer\": \"5\", \"equal\": false}\n");
    folder.succeed(["verify", "--input", "rows.jsonl", "--output", "judged.jsonl"]);
    let again = folder.succeed(["verify", "--input", "judged.jsonl"]).stdout;
    let judged = "{\"equal\":true,\"verdict\":\"equal\",\"gold\":\"5\",\"answer\":\"5\",\"id\":7}\n";
    assert_eq!(again, judged, "what else a row says is handed on; judged rows may be judged again");
    folder.put("bad.jsonl", "{\"gold\": \"5\", \"answer\": \"5\"}\n{\"gold\": \"5\"}\n");
    let error = folder.fail(["verify", "--input", "bad.jsonl"]);
    assert!(error.contains("bad.jsonl") && error.contains('2') && error.contains("answer"), "{error}");
}

#[test]
fn a_mode_has_its_own_rules() {
    let folder = Folder::new();
    let ask = |gold: &str, answer: &str, how: &[&str]| {
        let mut arguments = vec!["verify", "--gold", gold, "--answer", answer];
        arguments.extend(how);
        folder.succeed(arguments).stdout
    };
    assert_eq!(ask("5 cm", "5 km", &[]), "not equal\n");
    assert_eq!(ask("5 cm", "5 km", &["--mode", "math-verify"]), "equal\n");
    let gsm8k = ["--mode", "octothinker", "--benchmark", "gsm8k"];
    assert_eq!(ask("1234", "The answer is 1,234.", &[]), "equal\n");
    assert_eq!(ask("1234", "The answer is 1,234.", &gsm8k), "not equal\n");
    let error = folder.fail(["verify", "--gold", "1", "--answer", "1", "--mode", "octothinker"]);
    assert!(error.contains("benchmark") && error.contains("gsm8k"), "{error}");
    folder.put(
        "in.jsonl",
        "{\"gold\": \"1234\", \"answer\": \"1,234\"}\n\
         {\"gold\": \"1234\", \"answer\": \"1,234\", \"mode\": \"octothinker\", \"benchmark\": \"svamp\"}\n",
    );
    let out = folder.succeed(["verify", "--input", "in.jsonl"]).stdout;
    let equal: Vec<bool> = out.lines().map(|line| line.contains("\"equal\":true")).collect();
    assert_eq!(equal, [true, false]);
}
