// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's memory: slab objects by cache, and parts of /proc/meminfo.

use super::endurance::Change;
use anyhow::Context as _;
use std::{collections::BTreeMap, fs, path::Path, time::Duration};

/// The memory at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Memory {
    /// The objects of each slab cache.
    slabs: BTreeMap<String, u64>,
    /// Fields of /proc/meminfo, in kB.
    fields: BTreeMap<String, u64>,
}

/// The fields of /proc/meminfo that are compared, and the growth in kB that is none. Per-CPU memory
/// comes in pages for each CPU; the module's text and data are in vmalloc's, a thread has 16 kB of
/// stack.
const FIELDS: [(&str, u64); 3] = [("Percpu", 256), ("VmallocUsed", 1024), ("KernelStack", 256)];

/// The growth of a cache in objects that is none. The rest of the system has some hundred objects
/// more or less at any time: timers, files, pages of other programs. The endurance run makes
/// enough contexts and assignments in each round that a leak of each is more.
const SLACK: u64 = 400;

/// The caches that grow by more than [`SLACK`] without a leak. A debug kernel has a record of each object that
/// it tracks. Of vmalloc's areas the kernel keeps freed ones for a while, and has one for each hole between them;
/// `VmallocUsed` has the memory that is in use.
const NOT_COMPARED: [&str; 3] = ["kmemleak_object", "debug_objects_cache", "vmap_area"];

/// The number of readings before growth is a leak.
const READINGS: usize = 20;

/// The time before a reading.
const PAUSE: Duration = Duration::from_millis(250);

/// A directory for each slab cache.
const SLABS: &str = "/sys/kernel/slab";

impl Memory {
    /// Reads the memory that later readings are compared with.
    pub(super) fn reference() -> anyhow::Result<Self> {
        std::thread::sleep(PAUSE);
        drop_caches()?;
        shrink_all()?;
        Self::read()
    }

    /// Reads the memory until nothing has leaked since `reference`, or the last reading. Memory that
    /// RCU and workqueues free is returned some time after the last user.
    pub(super) fn settled(reference: &Memory) -> anyhow::Result<Self> {
        let mut memory = Self::reference()?;
        for _ in 1..READINGS {
            if !memory.changes(reference).iter().any(|one| one.leaked) {
                break;
            }
            std::thread::sleep(PAUSE);
            drop_caches()?;
            memory = Self::read()?;
            // To shrink a cache only lowers its number, so the others need it no more.
            for change in memory.changes(reference) {
                if change.leaked {
                    shrink(&Path::new(SLABS).join(&change.name));
                }
            }
            memory = Self::read()?;
        }
        Ok(memory)
    }

    fn read() -> anyhow::Result<Self> {
        let read = |file: &str| fs::read_to_string(file).with_context(|| file.to_owned());
        Ok(Self {
            slabs: slabs(&read("/proc/slabinfo")?),
            fields: fields(&read("/proc/meminfo")?),
        })
    }

    /// Returns the differences to `before`.
    pub(super) fn changes(&self, before: &Self) -> Vec<Change> {
        let slack = |name: &str| {
            let field = FIELDS.iter().find(|(field, _)| *field == name);
            field.map_or(SLACK, |(_, slack)| *slack)
        };
        let all = self.fields.iter().chain(&self.slabs);
        all.filter_map(|(name, &after)| {
            let before = before.fields.get(name).or_else(|| before.slabs.get(name));
            let before = before.copied().unwrap_or(0);
            (after != before).then(|| Change {
                name: name.clone(),
                before,
                after,
                leaked: after > before + slack(name),
            })
        })
        .collect()
    }
}

/// Drops cached directory entries and inodes.
fn drop_caches() -> anyhow::Result<()> {
    // The first write keeps the second out of the log.
    for mode in ["4", "2"] {
        fs::write("/proc/sys/vm/drop_caches", mode).context("drop_caches: are you root?")?;
    }
    Ok(())
}

/// Frees the free objects that CPUs keep of a cache. Until then they count as used.
fn shrink(cache: &Path) {
    let _ = fs::write(cache.join("shrink"), "1");
}

fn shrink_all() -> anyhow::Result<()> {
    for cache in fs::read_dir(SLABS).into_iter().flatten() {
        let cache = cache?;
        // A link is another name of a cache.
        if cache.file_type()?.is_dir() {
            shrink(&cache.path());
        }
    }
    Ok(())
}

/// Reads the names and the used objects of /proc/slabinfo.
fn slabs(text: &str) -> BTreeMap<String, u64> {
    // The second word of both headings is no number.
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
        })
        .filter(|(name, _)| !NOT_COMPARED.contains(&name.as_str()))
        .collect()
}

/// Reads [`FIELDS`] of /proc/meminfo.
fn fields(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            FIELDS.iter().find(|(field, _)| *field == name)?;
            let number = rest.split_whitespace().next()?.parse().ok()?;
            Some((name.to_owned(), number))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLABS: &str = "slabinfo - version: 2.1\n\
        # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>\n\
        sighand_cache         93    105   2112   15    8 : tunables 0 0 0\n\
        kmemleak_object    70000  70010    400   10    1 : tunables 0 0 0\n\
        debug_objects_cache 9000   9010     40  102    1 : tunables 0 0 0\n\
        vmap_area           1865   1900     72   56    1 : tunables 0 0 0\n\
        kmalloc-64          4000   4096     64   64    1 : tunables 0 0 0\n";

    #[test]
    fn caches_and_fields_are_read() {
        let slabs = slabs(SLABS);
        assert_eq!(slabs.len(), 2, "{slabs:?}");
        assert_eq!(slabs["kmalloc-64"], 4000);
        assert_eq!(slabs["sighand_cache"], 93);
        let fields = fields("MemFree:  5 kB\nPercpu:     1234 kB\nVmallocUsed: 9 kB\n");
        assert_eq!(fields["Percpu"], 1234);
        assert_eq!(fields.len(), 2);
    }

    #[test]
    fn growth_is_a_leak_beyond_the_slack() {
        let memory = |objects, percpu| Memory {
            slabs: [("kmalloc-64".to_owned(), objects)].into(),
            fields: [("Percpu".to_owned(), percpu)].into(),
        };
        let before = memory(1000, 400);
        let leaks = |after: Memory| -> Vec<String> {
            let changes = after.changes(&before).into_iter();
            changes
                .filter(|one| one.leaked)
                .map(|one| one.name)
                .collect()
        };
        assert!(before.changes(&before).is_empty());
        assert!(leaks(memory(1000 + SLACK, 656)).is_empty());
        assert!(leaks(memory(10, 4)).is_empty());
        assert_eq!(leaks(memory(1001 + SLACK, 400)), ["kmalloc-64"]);
        assert_eq!(leaks(memory(1000, 657)), ["Percpu"]);
    }
}
