//! Output apart from what it shows: a report is a struct, and this turns it into a table, JSON or YAML.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::presets::NOTHING;
use comfy_table::{Cell, ContentArrangement};
use serde::Serialize;

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// A table for people
    #[default]
    Table,
    /// A table with more columns
    Wide,
    /// JSON for programs
    Json,
    /// YAML for programs
    Yaml,
}

/// A report that can be shown.
pub trait Shown: Serialize {
    /// The report as a table.
    fn table(&self, wide: bool) -> Table;
}

impl Format {
    /// Whether a person reads it.
    pub fn is_for_people(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }

    /// The report as text, with a newline at its end.
    ///
    /// # Errors
    /// When the report has no JSON or YAML form, which would be a fault of the report.
    pub fn render(self, report: &impl Shown) -> anyhow::Result<String> {
        Ok(match self {
            Self::Table => report.table(false).render(has_colour()),
            Self::Wide => report.table(true).render(has_colour()),
            Self::Json => format!("{}\n", serde_json::to_string_pretty(report)?),
            Self::Yaml => serde_saphyr::to_string(&serde_json::to_value(report)?)?,
        })
    }
}

/// A table without lines, as `kubectl` prints them.
#[derive(Debug)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    pub fn new(columns: &[&str]) -> Self {
        Self {
            header: columns.iter().map(|column| (*column).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; an empty cell shows as `-`.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells
            .into_iter()
            .map(|cell| if cell.is_empty() { "-".to_owned() } else { cell });
        self.rows.push(cells.collect());
    }

    /// The table as text. Colour is put in after the layout, so that it never shifts a column.
    pub fn render(&self, colour: bool) -> String {
        let mut table = comfy_table::Table::new();
        table
            .load_style(NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(self.header.iter().map(Cell::new));
        for row in &self.rows {
            table.add_row(row.iter().map(Cell::new));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let mut text = String::new();
        for line in table.lines() {
            let line = line.trim_end();
            text.push_str(&if colour { coloured(line) } else { line.to_owned() });
            text.push('\n');
        }
        text
    }
}

/// Prints to standard output at once. A reader that has gone away (`| head`) is no error.
pub fn print(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Whether standard output takes colour: a terminal, and nobody said NO_COLOR (no-color.org).
pub fn has_colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Colours the words of a line that tell good from bad.
fn coloured(line: &str) -> String {
    const WORDS: [(&str, &str); 9] = [
        ("connected", "32"),
        ("ready", "32"),
        ("accepted", "32"),
        ("connecting", "33"),
        ("degraded", "33"),
        ("pending", "33"),
        ("error", "31"),
        ("unknown", "31"),
        ("refused", "31"),
    ];
    for (word, code) in WORDS {
        if let Some(at) = line.find(&format!("  {word}  ")).map(|at| at + 2).or_else(|| {
            line.strip_suffix(word)
                .filter(|before| before.ends_with("  "))
                .map(str::len)
        }) {
            let (before, rest) = line.split_at(at);
            let (word, after) = rest.split_at(word.len());
            return format!("{before}\x1b[{code}m{word}\x1b[0m{after}");
        }
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["CLUSTER", "STATUS", "MESSAGE"]);
        table.row(["east".into(), "connected".into(), String::new()]);
        table.row(["northwest".into(), "error".into(), "no answer".into()]);
        table
    }

    #[test]
    fn columns_line_up_without_borders() {
        assert_eq!(
            table().render(false),
            "CLUSTER    STATUS     MESSAGE\neast       connected  -\nnorthwest  error      no answer\n"
        );
    }

    #[test]
    fn colour_changes_no_letter() {
        let coloured = table().render(true);
        assert!(coloured.contains("\x1b[32mconnected\x1b[0m") && coloured.contains("\x1b[31merror\x1b[0m"));
        let plain = ["\x1b[32m", "\x1b[31m", "\x1b[0m"]
            .iter()
            .fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(plain, table().render(false));
    }
}
