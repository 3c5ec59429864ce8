//! Text in columns: right widths for wide letters, no padding at the end of a line, colours that count for nothing.
//! It must never cut what it shows: a shortened id is a wrong id.

use std::fmt;

use clap::builder::styling::Style;

use super::output::{BOLD, DIM, plain};

/// Which side of a column is straight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// One field: what it says and how it looks.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// In the usual style; what could steer the terminal is written out.
    pub(super) fn new(text: impl AsRef<str>) -> Self {
        Self { text: plain(text.as_ref()), style: Style::new() }
    }

    /// A dash when there is nothing.
    pub(super) fn maybe(text: Option<impl AsRef<str>>) -> Self {
        text.map_or_else(|| Self::new("-").styled(DIM), Self::new)
    }

    pub(super) fn styled(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = self.style;
        write!(f, "{style}{}{style:#}", self.text)
    }
}

/// Rows under headings. Without headings: names on the left, values on the right.
pub(super) struct Table {
    heads: Vec<(&'static str, Side)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new(heads: &[(&'static str, Side)]) -> Self {
        Self { heads: heads.to_vec(), rows: Vec::new() }
    }

    /// Two columns without headings.
    pub(super) fn pairs() -> Self {
        Self::new(&[])
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Adds one name and its value.
    pub(super) fn pair(&mut self, name: &str, value: impl Into<Cell>) {
        self.row([Cell::new(name).styled(BOLD), value.into()]);
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).chain([self.heads.len()]).max().unwrap_or(0);
        let head = |column: usize| self.heads.get(column).map_or(0, |(head, _)| width(head));
        let cells =
            |column: usize| self.rows.iter().filter_map(move |row| row.get(column)).map(|cell| width(&cell.text));
        (0..columns).map(|column| cells(column).chain([head(column)]).max().unwrap_or(0)).collect()
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, cells: &[Cell], widths: &[usize]) -> fmt::Result {
        for (column, cell) in cells.iter().enumerate() {
            let gap = widths[column].saturating_sub(width(&cell.text));
            let right = self.heads.get(column).is_some_and(|(_, side)| *side == Side::Right);
            let last = column + 1 == cells.len();
            let (before, after) = if right { (gap, 0) } else { (0, if last { 0 } else { gap }) };
            write!(f, "{:before$}{cell}{:after$}", "", "")?;
            f.write_str(if last { "\n" } else { "  " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let heads: Vec<_> = self.heads.iter().map(|(head, _)| Cell::new(head).styled(BOLD)).collect();
        self.line(f, &heads, &widths)?;
        self.rows.iter().try_for_each(|row| self.line(f, row, &widths))
    }
}

/// How many columns of a terminal a text takes: East Asian letters and pictures two, combining marks none.
fn width(text: &str) -> usize {
    text.chars().map(letter_width).sum()
}

fn letter_width(letter: char) -> usize {
    match letter {
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::BAD;
    use super::*;

    /// As a file gets it: without styles.
    fn bare(table: &Table) -> String {
        anstream::adapter::strip_str(&table.to_string()).to_string()
    }

    #[test]
    fn columns_stand_under_their_headings_and_no_line_ends_in_blanks() {
        let mut table = Table::new(&[("KEY", Side::Left), ("LEFT", Side::Right), ("STATE", Side::Left)]);
        table.row(["dashscope/main".into(), "5s".into(), Cell::new("live").styled(BAD)]);
        table.row(["b".into(), "1m 20s".into(), Cell::maybe(None::<&str>)]);
        let want = "KEY               LEFT  STATE\ndashscope/main      5s  live\nb               1m 20s  -\n";
        assert_eq!(bare(&table), want);
    }

    #[test]
    fn wide_letters_count_twice_and_marks_not_at_all() {
        assert_eq!(width("东京"), 4);
        assert_eq!(width("e\u{301}"), 1);
        let mut table = Table::pairs();
        table.pair("东京", "a");
        table.pair("abcde", "b");
        assert_eq!(bare(&table), "东京   a\nabcde  b\n");
    }

    #[test]
    fn a_name_with_a_line_end_stays_on_its_line() {
        let mut table = Table::pairs();
        table.pair("exe", "/tmp/a\nb");
        assert_eq!(bare(&table), "exe  /tmp/a\\u{a}b\n");
    }
}
