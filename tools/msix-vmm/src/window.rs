// SPDX-License-Identifier: GPL-2.0-only

//! The device's window: MMIO addresses with the table, the pending bit array and Message Control.

use crate::{
    function::Function,
    layout::{CONTROL, PBA, PBA_SIZE, TABLE, TABLE_SIZE, WINDOW, WINDOW_SIZE},
};
use anyhow::{bail, Result};
use kvm_rtt::Access;

/// A register of the window, with an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    Table(u64),
    Pba(u64),
    Control,
    /// No register: reads give ones, writes are ignored.
    None,
}

impl Register {
    fn at(offset: u64) -> Self {
        match offset {
            TABLE.. if offset - TABLE < TABLE_SIZE => Register::Table(offset - TABLE),
            PBA.. if offset - PBA < PBA_SIZE => Register::Pba(offset - PBA),
            CONTROL => Register::Control,
            _ => Register::None,
        }
    }
}

/// Handles an access of the guest.
///
/// # Errors
///
/// The access is not one of the window, or the function fails.
pub fn access(function: &mut impl Function, access: Access<'_>) -> Result<()> {
    match access {
        Access::MmioRead(address, data) => match register(address)? {
            Register::Table(offset) => function.read_table(offset, data),
            Register::Pba(offset) => function.read_pba(offset, data),
            Register::Control => {
                let control = function.control().to_le_bytes();
                data.fill(0);
                data.iter_mut()
                    .zip(control)
                    .for_each(|(to, from)| *to = from);
                Ok(())
            }
            Register::None => {
                data.fill(0xff);
                Ok(())
            }
        },
        Access::MmioWrite(address, data) => match register(address)? {
            Register::Table(offset) => function.write_table(offset, data),
            Register::Control if data.len() >= 2 => {
                function.write_control(u16::from_le_bytes([data[0], data[1]]))
            }
            _ => Ok(()),
        },
        Access::PortWrite(port, _) => bail!("the guest wrote to port {port:#x}"),
    }
}

fn register(address: u64) -> Result<Register> {
    match address.checked_sub(WINDOW) {
        Some(offset) if offset < WINDOW_SIZE => Ok(Register::at(offset)),
        _ => bail!("the guest accessed {address:#x}, which is not in the window"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::Line;
    use vmm_sys_util::eventfd::EventFd;

    #[test]
    fn registers_have_their_places() {
        assert_eq!(Register::at(0), Register::Table(0));
        assert_eq!(Register::at(0x7fff), Register::Table(0x7fff));
        assert_eq!(Register::at(0x8000), Register::Pba(0));
        assert_eq!(Register::at(0x80ff), Register::Pba(0xff));
        assert_eq!(Register::at(0x8100), Register::None);
        assert_eq!(Register::at(0x9000), Register::Control);
        assert_eq!(Register::at(0x9004), Register::None);
    }

    #[derive(Default)]
    struct Recorder(Vec<String>);

    impl Function for Recorder {
        fn read_table(&mut self, offset: u64, data: &mut [u8]) -> Result<()> {
            self.0.push(format!("read table {offset} {}", data.len()));
            Ok(())
        }
        fn write_table(&mut self, offset: u64, data: &[u8]) -> Result<()> {
            self.0.push(format!("write table {offset} {data:?}"));
            Ok(())
        }
        fn read_pba(&mut self, offset: u64, data: &mut [u8]) -> Result<()> {
            self.0.push(format!("read pba {offset} {}", data.len()));
            Ok(())
        }
        fn control(&mut self) -> u16 {
            0x8003
        }
        fn write_control(&mut self, value: u16) -> Result<()> {
            self.0.push(format!("write control {value:#x}"));
            Ok(())
        }
        fn irqfd(&self, vector: u16) -> Result<EventFd> {
            bail!("no eventfd for vector {vector}")
        }
        fn line(&self, _: u16) -> Result<Option<Line>> {
            Ok(None)
        }
        fn settle(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn accesses_go_to_their_registers() {
        let mut function = Recorder::default();
        let mut four = [9; 4];
        access(&mut function, Access::MmioRead(WINDOW + CONTROL, &mut four)).unwrap();
        assert_eq!(four, [3, 0x80, 0, 0]);
        access(&mut function, Access::MmioRead(WINDOW + 0x9100, &mut four)).unwrap();
        assert_eq!(four, [0xff; 4]);
        for offset in [16, PBA + 8] {
            access(&mut function, Access::MmioRead(WINDOW + offset, &mut four)).unwrap();
        }
        for offset in [28, PBA + 8, CONTROL, CONTROL + 8] {
            access(
                &mut function,
                Access::MmioWrite(WINDOW + offset, &[0, 0xc0, 0, 0]),
            )
            .unwrap();
        }
        assert_eq!(
            function.0,
            [
                "read table 16 4",
                "read pba 8 4",
                "write table 28 [0, 192, 0, 0]",
                "write control 0xc000",
            ]
        );
        for address in [WINDOW - 4, WINDOW + WINDOW_SIZE] {
            let error = access(&mut function, Access::MmioWrite(address, &[0]));
            assert!(error.unwrap_err().to_string().contains("not in the window"));
        }
        let error = access(&mut function, Access::PortWrite(0x80, &[0]));
        assert!(error.unwrap_err().to_string().contains("port 0x80"));
    }
}
