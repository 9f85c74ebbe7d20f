// SPDX-License-Identifier: GPL-2.0-only

//! The pages of the kernel's ring buffer, and the layout of events.

use anyhow::Context as _;
use std::collections::HashMap;

/// A field of a structure: offset and size in bytes.
#[derive(Clone, Copy, Debug)]
struct Field {
    offset: usize,
    size: usize,
}

/// Returns the fields that lines like `field:u32 ctx; offset:8; size:4; signed:0;` describe.
fn fields(text: &str) -> HashMap<String, Field> {
    let mut fields = HashMap::new();
    for line in text.lines() {
        let mut parts = line.split(';').map(str::trim);
        let Some(declaration) = parts.next().and_then(|part| part.strip_prefix("field:")) else {
            continue;
        };
        let Some(name) = declaration.split_whitespace().last() else {
            continue;
        };
        let mut number = |key| {
            let part = parts.next()?.strip_prefix(key)?;
            part.parse::<usize>().ok()
        };
        if let (Some(offset), Some(size)) = (number("offset:"), number("size:")) {
            fields.insert(name.to_owned(), Field { offset, size });
        }
    }
    fields
}

/// Returns the number at `field` of `data`, of 1, 2, 4 or 8 bytes.
fn number(data: &[u8], field: Field) -> Option<u64> {
    let bytes = data.get(field.offset..field.offset + field.size)?;
    Some(match *bytes {
        [byte] => byte.into(),
        [a, b] => u16::from_ne_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
        _ => u64::from_ne_bytes(bytes.try_into().ok()?),
    })
}

/// The format of an event.
#[derive(Debug)]
pub(super) struct Format {
    id: u64,
    fields: HashMap<String, Field>,
}

impl Format {
    /// Parses an event's file "format".
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let id = text.lines().find_map(|line| line.strip_prefix("ID: "));
        Ok(Self {
            id: id
                .and_then(|id| id.parse().ok())
                .context("the format of an event has no ID")?,
            fields: fields(text),
        })
    }

    /// Returns true if `data` is a record of this event.
    pub(super) fn is(&self, data: &[u8]) -> bool {
        let kind = Field { offset: 0, size: 2 };
        number(data, kind) == Some(self.id)
    }

    /// Returns a field of the record `data`.
    pub(super) fn number(&self, data: &[u8], field: &str) -> Option<u64> {
        number(data, *self.fields.get(field)?)
    }
}

/// The layout of a page of the ring buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageLayout {
    time: Field,
    commit: Field,
    data: Field,
}

/// The kinds of records that have no event; smaller numbers are lengths.
const PADDING: u32 = 29;
const TIME_EXTEND: u32 = 30;
const TIME_STAMP: u32 = 31;

/// Bits of a time in the first word of a record.
const DELTA_BITS: u32 = 27;

/// The upper bits of an absolute time are those of the time before it.
const STAMP_BITS: u32 = 59;

/// Bits of the commit field that are its size. The others say that records were overwritten.
const COMMIT_SIZE: u64 = (1 << 30) - 1;

impl PageLayout {
    /// Parses the file "events/header_page".
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let fields = fields(text);
        let get = |name: &str| {
            let field = fields.get(name).copied();
            field.with_context(|| format!("the ring buffer's pages have no field {name}"))
        };
        Ok(Self {
            time: get("timestamp")?,
            commit: get("commit")?,
            data: get("data")?,
        })
    }

    /// Returns the size of a page.
    pub(super) fn size(&self) -> usize {
        self.data.offset + self.data.size
    }

    /// Calls `f` with the time and the bytes of each record of `page`.
    pub(super) fn events(&self, page: &[u8], mut f: impl FnMut(u64, &[u8])) {
        let word = |at: usize| {
            let field = Field {
                offset: at,
                size: 4,
            };
            number(page, field).map(|word| word as u32)
        };
        let (Some(mut time), Some(commit)) = (number(page, self.time), number(page, self.commit))
        else {
            return;
        };
        let mut at = self.data.offset;
        let end = (at + (commit & COMMIT_SIZE) as usize).min(page.len());
        while let Some(head) = word(at).filter(|_| at + 4 <= end) {
            let (kind, delta) = match cfg!(target_endian = "little") {
                true => (head & 31, u64::from(head >> 5)),
                false => (
                    head >> DELTA_BITS,
                    u64::from(head & ((1 << DELTA_BITS) - 1)),
                ),
            };
            // The word after the first one.
            let more = word(at + 4).map(u64::from);
            let (skipped, len) = match (kind, more) {
                // The rest of the page is empty.
                (PADDING, _) if delta == 0 => return,
                (PADDING, Some(len)) => {
                    time += delta;
                    at += 4 + len as usize;
                    continue;
                }
                (TIME_EXTEND, Some(upper)) => {
                    time += (upper << DELTA_BITS) + delta;
                    at += 8;
                    continue;
                }
                (TIME_STAMP, Some(upper)) => {
                    let stamp = (upper << DELTA_BITS) + delta;
                    time = (time >> STAMP_BITS << STAMP_BITS) | stamp;
                    at += 8;
                    continue;
                }
                (0, Some(len)) if len >= 4 => (8, len as usize - 4),
                (1..PADDING, _) => (4, kind as usize * 4),
                _ => return,
            };
            time += delta;
            let Some(data) = page.get(at + skipped..at + skipped + len) else {
                return;
            };
            f(time, data);
            at += skipped + len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n\
        \tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n\
        \tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n\
        \tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;\n";

    fn head(kind: u32, delta: u32) -> [u8; 4] {
        (kind | (delta << 5)).to_le_bytes()
    }

    /// Returns a page with these words, and with `flags` in its commit field.
    fn page(words: &[[u8; 4]], flags: u64) -> Vec<u8> {
        let mut page = vec![0; 4096];
        page[..8].copy_from_slice(&1000u64.to_le_bytes());
        page[8..16].copy_from_slice(&((words.len() as u64 * 4) | flags).to_le_bytes());
        page[16..16 + words.len() * 4].copy_from_slice(words.as_flattened());
        page
    }

    fn seen(page: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut seen = Vec::new();
        let layout = PageLayout::parse(HEADER).unwrap();
        assert_eq!(layout.size(), 4096);
        layout.events(page, |time, data| seen.push((time, data.to_vec())));
        seen
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn records_have_times_and_lengths() {
        let word = |n: u32| n.to_le_bytes();
        let page = page(
            &[
                head(1, 5),
                word(0xa),
                // A time that does not fit into a head.
                head(TIME_EXTEND, 1),
                word(2),
                head(2, 7),
                word(0xb),
                word(0xc),
                // A record that was discarded.
                head(PADDING, 3),
                word(4),
                // A length that does not fit into a head.
                head(0, 0),
                word(8),
                word(0xd),
                // An absolute time.
                head(TIME_STAMP, 9),
                word(1),
                head(1, 0),
                word(0xe),
            ],
            3 << 30,
        );
        let extended = 1005 + (2 << 27) + 1 + 7;
        assert_eq!(
            seen(&page),
            [
                (1005, word(0xa).to_vec()),
                (extended, [word(0xb), word(0xc)].concat()),
                (extended + 3, word(0xd).to_vec()),
                ((1 << 27) + 9, word(0xe).to_vec()),
            ]
        );
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn broken_pages_end_early() {
        assert!(seen(&[]).is_empty());
        assert!(seen(&[0; 20]).is_empty());
        assert!(seen(&page(&[head(PADDING, 0), head(1, 1), head(0, 0)], 0)).is_empty());
        // A record that is longer than the page.
        assert!(seen(&page(&[head(0, 0), 100_000u32.to_le_bytes()], 0)).is_empty());
        assert!(PageLayout::parse("").is_err());
        assert!(Format::parse("format:\n").is_err());
    }
}
