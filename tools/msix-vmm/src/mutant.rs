// SPDX-License-Identifier: GPL-2.0-only

//! Defects that the scenarios must find.

use crate::{
    function::{Function, Line},
    lines::Lines,
};
use anyhow::Result;
use clap::ValueEnum;
use doorbell::{
    msix::{ENTRY_SIZE, FUNCTION_MASK},
    LineSet,
};
use std::mem;
use vmm_sys_util::eventfd::EventFd;

/// A defect of a VMM or of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mutant {
    /// Ignore vector masks
    NoVectorMask,
    /// Ignore the function mask
    NoFunctionMask,
    /// Read the pending bits inverted
    InvertedPba,
    /// Read all pending bits as zero
    ZeroPba,
    /// Change the route of a vector after its unmask
    LateRoute,
    /// Skip one signal of the device
    LostSignal,
    /// Skip the last signal of a group now and then
    LostLast,
    /// Drop the pending message at the unmask
    DropAtUnmask,
    /// Send a message twice at the unmask
    DoubleUnmask,
    /// Ignore the handler that ends an automask
    StuckAutomask,
}

/// A function with a defect.
pub struct Broken {
    lines: Lines,
    mutant: Mutant,
    /// Writes to the table that [`Mutant::LateRoute`] holds back.
    held: Vec<(u64, Vec<u8>)>,
}

impl Broken {
    /// Breaks a function.
    ///
    /// # Errors
    ///
    /// The function fails.
    pub fn new(lines: Lines, mutant: Mutant) -> Result<Self> {
        if mutant == Mutant::StuckAutomask {
            lines.deassign_unmaskfd()?;
        }
        Ok(Self {
            lines,
            mutant,
            held: Vec::new(),
        })
    }
}

impl Function for Broken {
    fn read_table(&mut self, offset: u64, data: &mut [u8]) -> Result<()> {
        self.lines.read_table(offset, data)
    }

    fn write_table(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        let is_control = offset % ENTRY_SIZE == 12;
        let is_unmask = is_control && data.first().is_some_and(|&bits| bits & 1 == 0);
        let line = (offset / ENTRY_SIZE) as u32;
        let context = self.lines.context().clone();
        match self.mutant {
            Mutant::NoVectorMask if is_control && !is_unmask => Ok(()),
            Mutant::DoubleUnmask if is_unmask && context.pending(line)? => {
                self.lines.write_table(offset, data)?;
                Ok(context.ring(line).map(drop)?)
            }
            Mutant::DropAtUnmask if is_unmask => {
                context.clear_lines(&LineSet::range(line..line + 1))?;
                self.lines.write_table(offset, data)
            }
            Mutant::LateRoute if !is_control => {
                self.held.push((offset, data.to_vec()));
                Ok(())
            }
            _ => {
                self.lines.write_table(offset, data)?;
                if is_unmask {
                    for (offset, data) in mem::take(&mut self.held) {
                        self.lines.write_table(offset, &data)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn read_pba(&mut self, offset: u64, data: &mut [u8]) -> Result<()> {
        self.lines.read_pba(offset, data)?;
        match self.mutant {
            Mutant::InvertedPba => data.iter_mut().for_each(|bits| *bits = !*bits),
            Mutant::ZeroPba => data.fill(0),
            _ => {}
        }
        Ok(())
    }

    fn control(&mut self) -> u16 {
        self.lines.control()
    }

    fn write_control(&mut self, value: u16) -> Result<()> {
        let ignored = match self.mutant {
            Mutant::NoFunctionMask => FUNCTION_MASK,
            _ => 0,
        };
        self.lines.write_control(value & !ignored)
    }

    fn irqfd(&self, vector: u16) -> Result<EventFd> {
        self.lines.irqfd(vector)
    }

    fn line(&self, vector: u16) -> Result<Option<Line>> {
        self.lines.line(vector)
    }

    fn automasked(&self) -> Option<u16> {
        self.lines.automasked()
    }

    fn settle(&mut self) -> Result<()> {
        self.lines.settle()
    }
}
