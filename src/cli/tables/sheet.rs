//! A table whose columns make room for each other: aligned numbers, no wider than a
//! terminal where that can be.

use clap::ColorChoice;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table};

/// What a table should fit where nobody says how wide the terminal is: so a log is the same everywhere.
const WIDTH: usize = 120;
/// No terminal is narrower.
const NARROWEST: usize = 40;
/// Columns of at least this rank go before any name is shortened.
const DISPENSABLE: u8 = 7;
/// What is left of a long name while other columns could still go, and at last.
const READABLE_NAME: usize = 48;
const LEAST_NAME: usize = 24;

/// A column of a table.
pub struct Column {
    title: &'static str,
    number: bool,
    /// Which columns go first where there is no room: those of the largest rank; 0 stays.
    rank: u8,
    shown: bool,
    cells: Vec<(String, Option<Color>)>,
}

impl Column {
    /// A column of words.
    pub fn text(title: &'static str, cells: impl IntoIterator<Item = String>) -> Self {
        Self {
            title,
            number: false,
            rank: 0,
            shown: true,
            cells: cells.into_iter().map(|cell| (cell, None)).collect(),
        }
    }

    /// A column of numbers.
    pub fn numbers(title: &'static str, cells: impl IntoIterator<Item = String>) -> Self {
        Self { number: true, ..Self::text(title, cells) }
    }

    /// To be left out before those of a smaller rank.
    pub fn rank(mut self, rank: u8) -> Self {
        self.rank = rank;
        self
    }

    /// Colours the cells.
    pub fn colored(mut self, colors: impl IntoIterator<Item = Option<Color>>) -> Self {
        for (cell, color) in self.cells.iter_mut().zip(colors) {
            cell.1 = color;
        }
        self
    }

    /// The title as part of a sentence.
    fn name(&self) -> String {
        match self.title {
            "" => "the bar".to_owned(),
            title => title.trim().replace('\n', " "),
        }
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|(text, _)| text.as_str());
        self.title.lines().chain(cells).map(width).max().unwrap_or(0)
    }
}

/// A table made of columns, the first of them names.
pub struct Sheet {
    columns: Vec<Column>,
    room: usize,
    /// The most that names count for.
    name_width: usize,
    bold_last: bool,
}

impl Sheet {
    /// A table whose last row is totals.
    pub fn with_totals(columns: Vec<Column>) -> Self {
        Self { bold_last: true, ..Self::new(columns) }
    }

    /// A table of rows that are all alike.
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns, room: WIDTH, name_width: usize::MAX, bold_last: false }
    }

    /// Leaves columns out and shortens names until the table is no wider than the terminal, or `otherwise`
    /// where there is none. Says what was left out.
    pub fn fit(&mut self, otherwise: Room) -> Option<String> {
        let room = terminal_width().or(match otherwise {
            Room::OfALog => Some(WIDTH),
            Room::All => None,
        })?;
        let left_out = self.fit_into(room);
        (!left_out.is_empty()).then(|| {
            format!("Left out to fit {room} columns: {}. Use --full to show all.", left_out.join(", "))
        })
    }

    /// The titles of what was left out, in their order.
    fn fit_into(&mut self, room: usize) -> Vec<String> {
        self.room = room;
        self.leave_out(DISPENSABLE);
        // Names as short as this count for what else goes; in the end they get the room that is left.
        self.name_width = READABLE_NAME;
        self.leave_out(1);
        self.name_width = usize::MAX;
        self.shorten_names(LEAST_NAME);
        // Where that is not enough, columns that usually stay go too, from the right.
        if self.width() > self.room {
            self.leave_out(0);
            self.shorten_names(1);
        }
        self.columns.iter().filter(|column| !column.shown).map(Column::name).collect()
    }

    fn leave_out(&mut self, least_rank: u8) {
        let mut left_out = Vec::new();
        while self.width() > self.room {
            let shown = self.columns.iter_mut().enumerate().skip(1).filter(|(_, column)| column.shown);
            match shown.max_by_key(|(_, column)| column.rank) {
                Some((n, column)) if column.rank >= least_rank => {
                    column.shown = false;
                    left_out.push(n);
                }
                _ => return,
            }
        }
        // A wide column may have left room for a narrow one that went before it.
        for n in left_out.into_iter().rev() {
            self.columns[n].shown = true;
            self.columns[n].shown = self.width() <= self.room;
        }
    }

    fn shorten_names(&mut self, least: usize) {
        let over = self.width().saturating_sub(self.room);
        if let (Some(names), 1..) = (self.columns.first_mut(), over) {
            let most = names.width().saturating_sub(over).max(least);
            names.cells.iter_mut().for_each(|(name, _)| *name = shortened(name, most));
        }
    }

    fn width(&self) -> usize {
        // A border and a space at either end; two spaces between columns.
        let names = self.columns.first().map_or(0, Column::width);
        let all = 2 + self.shown().map(|column| column.width() + 2).sum::<usize>();
        all - names.saturating_sub(self.name_width)
    }

    fn shown(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.shown)
    }

    /// The text of the table.
    pub fn render(&self, color: ColorChoice) -> String {
        let mut table = blank(color);
        let title = |column: &Column| Cell::new(column.title).add_attribute(Attribute::Bold);
        table.set_header(self.shown().map(title));
        let rows = self.columns.first().map_or(0, |column| column.cells.len());
        for row in 0..rows {
            table.add_row(self.shown().map(|column| {
                let (text, color) = &column.cells[row];
                let cell = Cell::new(text);
                let cell = color.map_or(cell.clone(), |color| cell.clone().fg(color));
                if self.bold_last && row + 1 == rows { cell.add_attribute(Attribute::Bold) } else { cell }
            }));
        }
        for (n, column) in self.shown().enumerate() {
            if let Some(cells) = table.column_mut(n) {
                cells.set_padding((u16::from(n == 0), 1));
                if column.number {
                    cells.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        table.to_string()
    }
}

/// What a table has room for where standard output is no terminal.
#[derive(Clone, Copy)]
pub enum Room {
    /// So much that a log is readable.
    OfALog,
    /// Whatever it takes: what looks for a name in it finds it.
    All,
}

/// Columns of the terminal: what `COLUMNS` says, else what the terminal that standard output is says.
pub fn terminal_width() -> Option<usize> {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.trim().parse().ok());
    let width = said.filter(|width| *width > 0).or_else(|| Table::new().width().map(usize::from));
    width.map(|width| width.max(NARROWEST))
}

/// An empty table in this program's style.
pub fn blank(color: ColorChoice) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    match color {
        ColorChoice::Always => {
            table.enforce_styling();
        }
        ColorChoice::Never => {
            table.force_no_tty();
        }
        ColorChoice::Auto => {}
    }
    table
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// The two ends of a long name, of which the last part tells more.
fn shortened(name: &str, most: usize) -> String {
    let len = width(name);
    if len <= most {
        return name.to_owned();
    }
    let head = (most - 1) / 3;
    let tail = most - 1 - head;
    let chars = || name.chars();
    chars().take(head).chain(['…']).chain(chars().skip(len - tail)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(name: &str, wide: usize) -> Sheet {
        Sheet::new(vec![
            Column::text("tensor", [name.to_owned()]),
            Column::text("needed", ["x".repeat(wide)]).rank(2),
            Column::numbers("least\nneeded", ["1".to_owned()]).rank(7),
            Column::numbers("kept", ["2".to_owned()]),
        ])
    }

    #[test]
    fn columns_and_then_names_make_room() {
        // 2 for the borders, 2 between four columns, 6 for `tensor`, 6 for `needed`, 4 for `kept`.
        assert!(sheet("name", 94).fit_into(WIDTH).is_empty());
        assert_eq!(sheet("name", 95).fit_into(WIDTH), ["least needed"]);
        assert_eq!(sheet("name", 102).fit_into(WIDTH), ["least needed"]);
        assert_eq!(sheet("name", 103).fit_into(WIDTH), ["needed", "least needed"]);
        assert_eq!(sheet("name", 62).fit_into(80), ["least needed"]);
        assert_eq!(sheet("name", 63).fit_into(80), ["needed", "least needed"]);
        let mut narrow = sheet(&"x".repeat(60), 1);
        assert_eq!(narrow.fit_into(30), ["needed", "least needed", "kept"]);
        assert_eq!(narrow.width(), 28);
        let mut long = sheet(&format!("model.{}.weight", "x".repeat(120)), 1);
        assert_eq!(long.fit_into(WIDTH), ["least needed"]);
        assert_eq!(long.width(), WIDTH);
        let name = &long.columns[0].cells[0].0;
        assert!(name.starts_with("model.xx") && name.contains("x…x") && name.ends_with("x.weight"), "{name}");
    }

    #[test]
    fn styles_are_for_terminals() {
        let mut sheet = sheet("name", 1);
        sheet.columns[3] = Column::numbers("kept", ["2".to_owned()]).colored([Some(Color::Red)]);
        assert!(!sheet.render(ColorChoice::Never).contains('\u{1b}'));
        assert!(sheet.render(ColorChoice::Always).contains("\u{1b}[38;5;9m"));
    }
}
