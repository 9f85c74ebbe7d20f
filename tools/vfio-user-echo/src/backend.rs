// SPDX-License-Identifier: GPL-2.0-only

//! The messages of the vfio-user protocol.

use crate::{
    config::{self, ConfigSpace},
    device::Device,
    layout::{Lines, PBA_OFFSET, REGISTERS_BAR, REGISTERS_SIZE, TABLE_BAR, TABLE_SIZE},
    vectors::Vectors,
};
use anyhow::{bail, ensure, Context as _};
use std::{fs::File, io, sync::Arc};
use vfio_bindings::bindings::vfio::{
    vfio_region_info, VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_INFO_MASKABLE, VFIO_IRQ_SET_ACTION_MASK,
    VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_ACTION_TYPE_MASK, VFIO_IRQ_SET_ACTION_UNMASK,
    VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_DATA_NONE, VFIO_IRQ_SET_DATA_TYPE_MASK,
    VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_NUM_IRQS, VFIO_PCI_NUM_REGIONS,
    VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE,
};
use vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, ServerBackend, ServerRegion};

/// The device side of a connection.
#[derive(Debug)]
pub struct Backend {
    config: ConfigSpace,
    vectors: Vectors,
    device: Arc<Device>,
    lines: Lines,
}

impl Backend {
    /// Creates the backend of a device that has been reset.
    pub fn new(vectors: Vectors, device: Arc<Device>, lines: Lines) -> Self {
        Self {
            config: ConfigSpace::new(lines.vectors),
            vectors,
            device,
            lines,
        }
    }

    /// Returns the regions, by their number.
    pub fn regions() -> Vec<ServerRegion> {
        let region = |index| ServerRegion {
            region_info: vfio_region_info {
                argsz: size_of::<vfio_region_info>() as u32,
                flags: match region_size(index) {
                    0 => 0,
                    _ => VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE,
                },
                index,
                size: region_size(index),
                ..Default::default()
            },
            sparse_areas: Vec::new(),
            mmap_fd: None,
        };
        (0..VFIO_PCI_NUM_REGIONS).map(region).collect()
    }

    /// Returns the interrupts, by their number. There are MSI-X vectors only.
    pub fn irqs(vectors: u16) -> Vec<IrqInfo> {
        let irq = |index| match index {
            VFIO_PCI_MSIX_IRQ_INDEX => IrqInfo {
                index,
                flags: VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE,
                count: vectors.into(),
            },
            _ => IrqInfo {
                index,
                flags: 0,
                count: 0,
            },
        };
        (0..VFIO_PCI_NUM_IRQS).map(irq).collect()
    }

    fn read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> anyhow::Result<()> {
        check_range(region, offset, data.len())?;
        match region {
            VFIO_PCI_CONFIG_REGION_INDEX => ensure!(self.config.read(offset, data)),
            REGISTERS_BAR => self.device.read(offset, data)?,
            _ if offset < PBA_OFFSET => self.vectors.msix().read_table(offset, data),
            _ => self.vectors.msix().read_pba(offset - PBA_OFFSET, data),
        }
        Ok(())
    }

    fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> anyhow::Result<()> {
        check_range(region, offset, data.len())?;
        match region {
            VFIO_PCI_CONFIG_REGION_INDEX => {
                ensure!(self.config.write(offset, data));
                // Changes nothing if the register has not changed, unless a write of it has failed.
                let control = self.config.msix_control();
                self.vectors.msix().write_control(control)?;
            }
            REGISTERS_BAR => self.device.write(offset, data)?,
            _ if offset < PBA_OFFSET => self.vectors.write_table(offset, data)?,
            _ => {}
        }
        Ok(())
    }

    fn set(&mut self, index: u32, flags: u32, range: Range, fds: Vec<File>) -> anyhow::Result<()> {
        ensure!(
            index == VFIO_PCI_MSIX_IRQ_INDEX,
            "the device has no interrupts of index {index}"
        );
        ensure!(
            range.end() <= u64::from(self.lines.vectors),
            "the device has {} vectors",
            self.lines.vectors
        );
        let action = flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
        let vectors = range.vectors();
        match (action, flags & VFIO_IRQ_SET_DATA_TYPE_MASK) {
            (VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_NONE) if range.count == 0 => {
                (0..self.lines.vectors).try_for_each(|v| self.vectors.remove_eventfds(v))
            }
            (VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_NONE) => {
                { vectors }.try_for_each(|v| Ok(self.device.signal(v)?))
            }
            // The client sends the eventfds of all these vectors, or of none.
            (VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD) if fds.is_empty() => {
                { vectors }.try_for_each(|v| self.vectors.remove_eventfds(v))
            }
            (VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD) => {
                ensure!(
                    fds.len() == range.count as usize,
                    "{} eventfds for {} vectors",
                    fds.len(),
                    range.count
                );
                vectors
                    .zip(fds)
                    .try_for_each(|(v, file)| self.vectors.set_eventfd(v, file))
            }
            (VFIO_IRQ_SET_ACTION_MASK, VFIO_IRQ_SET_DATA_NONE) => {
                { vectors }.try_for_each(|v| self.vectors.mask(v, true))
            }
            (VFIO_IRQ_SET_ACTION_UNMASK, VFIO_IRQ_SET_DATA_NONE) => {
                { vectors }.try_for_each(|v| self.vectors.mask(v, false))
            }
            _ => bail!("flags {flags:#x} are not supported"),
        }
    }
}

/// A range of vectors, as a client sends it.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: u32,
    count: u32,
}

impl Range {
    fn end(self) -> u64 {
        u64::from(self.start) + u64::from(self.count)
    }

    /// Returns the vectors of a range that has been checked.
    fn vectors(self) -> std::ops::Range<u16> {
        self.start as u16..self.end() as u16
    }
}

/// Returns the size of a region; 0 if the device does not have it.
fn region_size(index: u32) -> u64 {
    match index {
        REGISTERS_BAR => REGISTERS_SIZE,
        TABLE_BAR => TABLE_SIZE,
        VFIO_PCI_CONFIG_REGION_INDEX => config::SIZE as u64,
        _ => 0,
    }
}

/// Checks that an access is within its region.
fn check_range(region: u32, offset: u64, len: usize) -> anyhow::Result<()> {
    let size = region_size(region);
    let end = u64::try_from(len)
        .ok()
        .and_then(|len| offset.checked_add(len));
    ensure!(
        end.is_some_and(|end| end <= size),
        "{len} bytes at {offset:#x} of region {region}: it has {size}"
    );
    Ok(())
}

/// Logs an error, and passes it to the protocol. The reply of vfio_user 0.1 has no error number,
/// and QEMU takes such a reply for success.
fn reply(result: anyhow::Result<()>) -> io::Result<()> {
    result.map_err(|error| io::Error::other(format!("{error:#}")))
}

impl ServerBackend for Backend {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        reply(self.read(region, offset, data))
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        reply(self.write(region, offset, data))
    }

    // The device does no DMA.
    fn dma_map(
        &mut self,
        _flags: DmaMapFlags,
        _offset: u64,
        _address: u64,
        _size: u64,
        _fd: Option<File>,
    ) -> io::Result<()> {
        Ok(())
    }

    fn dma_unmap(&mut self, _flags: DmaUnmapFlags, _address: u64, _size: u64) -> io::Result<()> {
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        // Signals that the device makes later would be pending after the reset.
        self.device.drain();
        self.config = ConfigSpace::new(self.lines.vectors);
        reply(self.vectors.reset().context("reset the device"))
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        fds: Vec<File>,
    ) -> io::Result<()> {
        let range = Range { start, count };
        let result = self.set(index, flags, range, fds);
        reply(result.with_context(|| format!("interrupts {index}, {range:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_and_interrupts_have_their_places() {
        let regions = Backend::regions();
        let sizes: Vec<u64> = regions.iter().map(|r| r.region_info.size).collect();
        assert_eq!(sizes, [0x1000, 0, 0x2000, 0, 0, 0, 0, 0x100, 0]);
        assert!((0..).zip(&regions).all(|(i, r)| r.region_info.index == i));
        let irqs = Backend::irqs(4);
        let counts: Vec<u32> = irqs.iter().map(|irq| irq.count).collect();
        assert_eq!(counts, [0, 0, 4, 0, 0]);
    }

    #[test]
    fn accesses_beyond_a_region_fail() {
        assert!(check_range(0, 0xffc, 4).is_ok());
        assert!(check_range(2, 0x1000, 8).is_ok());
        for (region, offset) in [(0, 0xffd), (0, u64::MAX - 1), (1, 0), (7, 0x100), (9, 0)] {
            let error = check_range(region, offset, 4).unwrap_err().to_string();
            assert!(error.contains(&format!("region {region}")), "{error}");
        }
    }

    #[test]
    fn ranges_do_not_wrap() {
        let range = Range {
            start: 3,
            count: u32::MAX,
        };
        assert_eq!(range.end(), 3 + u64::from(u32::MAX));
        assert_eq!(Range { start: 2, count: 3 }.vectors(), 2..5);
    }
}
