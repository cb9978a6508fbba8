//! Results as a table for a terminal.

use crate::results::{Scored, note, shots};

/// Rows of cells below a head, each column as wide as its widest cell; columns of numbers end where they end.
pub fn aligned(head: &[&str], rows: &[Vec<String>], right: &[usize]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::as_str);
        cells.chain(head.get(column).copied()).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (column, cell) in cells.enumerate() {
            let space = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            let (before, behind) =
                if right.contains(&column) { (space.as_str(), "") } else { ("", space.as_str()) };
            line += &format!("{}{before}{cell}{behind}", if column > 0 { "  " } else { "" });
        }
        line.trim_end().to_owned()
    };
    let mut lines = vec![line(&mut head.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

/// The figures of scored tasks with their standard errors.
pub fn results(scored: &[Scored<'_>]) -> String {
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for s in scored {
        for (at, by) in s.score.filters.iter().enumerate() {
            for (place, measure) in by.measures.iter().enumerate() {
                let first = at == 0 && place == 0;
                let shown = |text: String, shown: bool| if shown { text } else { String::new() };
                rows.push(vec![
                    shown(s.task.name.clone(), first),
                    shown(s.items.items.len().to_string(), first),
                    shown(by.filter.name().to_owned(), place == 0),
                    shown(shots(s).map(|shots| shots.to_string()).unwrap_or_default(), first),
                    measure.name.clone(),
                    if measure.value.abs() < 10.0 {
                        format!("{:.4}", measure.value)
                    } else {
                        format!("{:.1}", measure.value)
                    },
                    measure.error.map_or_else(String::new, |error| format!("± {error:.4}")),
                    measure.interval.map_or_else(String::new, |(low, high)| format!("{low:.4} to {high:.4}")),
                ]);
            }
        }
        if !s.score.disagreements.is_empty() {
            let n = s.score.disagreements.len();
            notes.push(format!("{}: filters disagree on {n} responses", s.task.name));
        }
    }
    let own: Vec<&str> = scored.iter().filter(|s| note(s).is_some()).map(|s| s.task.name.as_str()).collect();
    if let Some(note) = scored.iter().find_map(note) {
        notes.push(format!("{}: {note}", own.join(", ")));
    }
    let head = ["task", "items", "filter", "n-shot", "metric", "value", "stderr", "95 % interval"];
    let mut text = aligned(&head, &rows, &[1, 3, 5]);
    for note in notes {
        text += "\n";
        text += &note;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let rows = vec![vec!["a".to_owned(), "10.5".to_owned()], vec!["long".to_owned(), "±1".to_owned()]];
        assert_eq!(aligned(&["x", "n"], &rows, &[1]), "x        n\na     10.5\nlong    ±1");
    }
}
