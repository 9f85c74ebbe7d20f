// SPDX-License-Identifier: GPL-2.0-only

//! The instrumented blocks of doorbell.ko, from its relocations, and their addresses in the kernel.

use anyhow::{bail, Context};
use std::{collections::HashMap, fs, os::unix::fs::FileExt, path::Path};

/// The function that each block calls first.
const TRACE: &[u8] = b"__sanitizer_cov_trace_pc\0";

/// A block: its section, and the offset behind the call in it.
pub type Block = (String, u64);

/// Reads parts of an ELF file.
struct Elf {
    file: fs::File,
}

impl Elf {
    fn bytes(&self, at: u64, len: usize) -> anyhow::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }
}

fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    let mut word = [0; 8];
    if let Some(part) = bytes.get(at..at + len) {
        word[..len].copy_from_slice(part);
    }
    u64::from_le_bytes(word)
}

fn name(table: &[u8], at: u64) -> String {
    let bytes = table.get(at as usize..).unwrap_or_default();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A section header: name, type, flags, offset, size, link, info.
type Section = (u64, u64, u64, u64, u64, usize, usize);

/// Returns the instrumented blocks of a module, except those of its start and end.
pub fn blocks(path: &Path) -> anyhow::Result<Vec<Block>> {
    let file = fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    let elf = Elf { file };
    let header = elf.bytes(0, 64)?;
    if header[..5] != *b"\x7fELF\x02" {
        bail!("{} is no 64-bit ELF file", path.display());
    }
    let count = number(&header, 60, 2) as usize;
    let table = elf.bytes(number(&header, 40, 8), count * 64)?;
    let sections: Vec<Section> = table
        .chunks_exact(64)
        .map(|entry| {
            let n = |at, len| number(entry, at, len);
            let (link, info) = (n(40, 4) as usize, n(44, 4) as usize);
            (n(0, 4), n(4, 4), n(8, 8), n(24, 8), n(32, 8), link, info)
        })
        .collect();
    let content = |index: usize| -> anyhow::Result<Vec<u8>> {
        let section = sections.get(index).context("a section is missing")?;
        elf.bytes(section.3, section.4 as usize)
    };
    let names = content(number(&header, 62, 2) as usize)?;
    let mut found = Vec::new();
    for section in &sections {
        let Some(target) = sections.get(section.6) else {
            continue;
        };
        let target_name = name(&names, target.0);
        // SHT_RELA of a section with SHF_EXECINSTR.
        if section.1 != 4
            || target.2 & 4 == 0
            || target_name.starts_with(".init")
            || target_name.starts_with(".exit")
        {
            continue;
        }
        let symbols = content(section.5)?;
        let strings = content(sections[section.5].5)?;
        let relocations = elf.bytes(section.3, section.4 as usize)?;
        for relocation in relocations.chunks_exact(24) {
            let symbol = number(relocation, 12, 4) as usize;
            let at = number(&symbols, symbol * 24, 4) as usize;
            if strings
                .get(at..)
                .is_some_and(|rest| rest.starts_with(TRACE))
            {
                found.push((target_name.clone(), number(relocation, 0, 8) + 4));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the addresses of the sections of the loaded module.
pub fn sections() -> HashMap<String, u64> {
    let entries = fs::read_dir("/sys/module/doorbell/sections")
        .into_iter()
        .flatten();
    entries
        .flatten()
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path()).ok()?;
            let address = u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()?;
            Some((entry.file_name().to_string_lossy().into_owned(), address))
        })
        .filter(|(_, address)| *address != 0)
        .collect()
}

/// The addresses of the blocks, and the number of each.
#[derive(Debug, Default)]
pub struct BlockMap {
    /// The blocks.
    pub blocks: Vec<Block>,
    numbers: HashMap<u64, u32>,
}

impl BlockMap {
    /// Returns the blocks of the loaded module, whose file is `path`. Empty if the module has none.
    pub fn new(path: &Path) -> anyhow::Result<Self> {
        let sections = sections();
        let blocks = blocks(path)?;
        let address = |block: &Block| Some(sections.get(&block.0)? + block.1);
        let numbers = blocks.iter().enumerate();
        let numbers = numbers.filter_map(|(at, block)| Some((address(block)?, at as u32)));
        Ok(Self {
            numbers: numbers.collect(),
            blocks,
        })
    }

    /// Returns the number of the block that calls from `address`.
    pub fn number(&self, address: u64) -> Option<u32> {
        self.numbers.get(&address).copied()
    }
}
