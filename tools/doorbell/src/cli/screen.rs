// SPDX-License-Identifier: GPL-2.0-only

//! Text on a terminal that replaces its previous version.

use crate::print;

/// The height of the text that was drawn last.
#[derive(Default)]
pub struct Redraw {
    height: usize,
}

impl Redraw {
    /// Prints `text` in the place of the text that was drawn last.
    pub fn draw(&mut self, text: &str) -> anyhow::Result<()> {
        let text = self.replace(text);
        print(&text)
    }

    fn replace(&mut self, text: &str) -> String {
        let back = match self.height {
            0 => String::new(),
            n => format!("\x1b[{n}A\x1b[J"),
        };
        self.height = text.lines().count();
        format!("{back}{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_replaces_all_rows_of_the_previous_one() {
        let mut redraw = Redraw::default();
        assert_eq!(redraw.replace("a\nb\n"), "a\nb\n");
        assert_eq!(redraw.replace("c\n"), "\x1b[2A\x1b[Jc\n");
        assert_eq!(redraw.replace("d\n"), "\x1b[1A\x1b[Jd\n");
    }
}
