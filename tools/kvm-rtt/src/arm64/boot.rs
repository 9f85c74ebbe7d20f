// SPDX-License-Identifier: GPL-2.0-only

//! Set-up of a vCPU at EL1, with its translation tables.
//!
//! Without translation the guest's accesses would bypass the caches, and the VMM would see old values.

use crate::{layout, memory, memory::PAGE};
use anyhow::{anyhow, Context, Result};
use kvm_bindings::{
    kvm_vcpu_init, KVM_ARM_VCPU_PSCI_0_2, KVM_REG_ARM64, KVM_REG_ARM_CORE, KVM_REG_SIZE_U64,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::GuestMemoryMmap;

/// The offset of the exception vectors in the code.
pub const VECTORS: u64 = 0x800;

/// The translation tables, one page each: entries of a gigabyte, and of 2 MiB.
const LEVEL1: u64 = layout::TABLES;
const LEVEL2: u64 = layout::TABLES + 0x1000;

/// Descriptors: a table; a block, accessed, inner shareable, for EL1 only; a block of devices, not executable.
const TABLE: u64 = 3;
const MEMORY: u64 = 1 | (3 << 8) | (1 << 10);
const DEVICES: u64 = 1 | (1 << 2) | (1 << 10) | (1 << 53) | (1 << 54);

/// Attribute 0 is write-back memory, attribute 1 is device memory, nGnRE.
const MAIR: u64 = 0x04ff;
/// Addresses of 39 bits below, none above; 4 KiB; the tables are write-back, inner shareable.
const TCR: u64 = 25 | (1 << 8) | (1 << 10) | (3 << 12) | (1 << 23);
/// The bits that are always set; translation, data cache, instruction cache.
const SCTLR: u64 = 0x30d0_0800 | 1 | (1 << 2) | (1 << 12);
/// EL1 with its own stack pointer; all exceptions masked.
const PSTATE: u64 = 0x3c5;

/// Returns the number of a system register.
const fn system(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> u64 {
    const SYSTEM: u64 = 0x13 << 16;
    let number = (op0 << 14) | (op1 << 11) | (crn << 7) | (crm << 3) | op2;
    KVM_REG_ARM64 | KVM_REG_SIZE_U64 | SYSTEM | number
}

/// Returns the number of a core register, by its place in `struct kvm_regs`, in words of 64 bits.
const fn core(word: u64) -> u64 {
    KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE as u64 | (2 * word)
}

const PC: u64 = core(32);
const PSTATE_REGISTER: u64 = core(33);
/// KVM_REG_ARM_TIMER_CNT, the guest's CNTVCT_EL0. Its number is not the architecture's.
const COUNTER: u64 = system(3, 3, 14, 3, 2);

/// The program of a guest. All vCPUs run the same one.
#[derive(Clone, Debug)]
pub struct Program {
    /// The code, which is copied to [`layout::CODE`]: position-independent, at most a page. The exception vectors
    /// are at [`VECTORS`].
    pub code: &'static [u8],
}

/// The registers of a vCPU.
#[derive(Clone, Debug, Default)]
pub struct Registers {
    /// The general-purpose registers.
    pub x: [u64; 31],
    /// The program counter.
    pub pc: u64,
}

/// Returns the registers at `offset` of the code. The others are zero.
pub fn registers(offset: u64) -> Registers {
    Registers {
        pc: layout::CODE + offset,
        ..Default::default()
    }
}

/// Loads the memory that all vCPUs share: translation tables, the program.
///
/// # Errors
///
/// The code is larger than its page, or the memory is smaller than [`layout::MEMORY`].
pub fn load(memory: &GuestMemoryMmap, program: &Program) -> Result<()> {
    // An identity mapping of the first gigabyte. Only the first block is memory.
    let blocks = (0..512).map(|block| (block << 21) | if block == 0 { MEMORY } else { DEVICES });
    let tables = [(LEVEL1, vec![LEVEL2 | TABLE]), (LEVEL2, blocks.collect())];
    memory::write(memory, program.code, tables)
}

/// Makes `vcpu` ready to run. [`load`] must have been called.
pub(crate) fn prepare(_: &Kvm, vm: &VmFd, vcpu: &VcpuFd) -> Result<()> {
    let mut target = kvm_vcpu_init::default();
    vm.get_preferred_target(&mut target)
        .context("find a type of vCPU")?;
    target.features[0] |= 1 << KVM_ARM_VCPU_PSCI_0_2;
    vcpu.vcpu_init(&target).context("reset the vCPU")?;
    for (register, value) in [
        (system(3, 0, 10, 2, 0), MAIR),
        (system(3, 0, 2, 0, 2), TCR),
        (system(3, 0, 2, 0, 0), LEVEL1),
        (system(3, 0, 12, 0, 0), layout::CODE + VECTORS),
        (system(3, 0, 1, 0, 0), SCTLR),
        (PSTATE_REGISTER, PSTATE),
    ] {
        set(vcpu, register, value)?;
    }
    Ok(())
}

fn set(vcpu: &VcpuFd, register: u64, value: u64) -> Result<()> {
    let set = vcpu.set_one_reg(register, &value.to_le_bytes());
    set.with_context(|| format!("set the vCPU's register {register:#x}"))?;
    Ok(())
}

fn get(vcpu: &VcpuFd, register: u64) -> Result<u64> {
    let mut value = [0; 8];
    let got = vcpu.get_one_reg(register, &mut value);
    got.with_context(|| format!("read the vCPU's register {register:#x}"))?;
    Ok(u64::from_le_bytes(value))
}

/// Sets the registers of a vCPU, with exceptions masked.
pub(crate) fn set_registers(vcpu: &VcpuFd, registers: &Registers) -> Result<()> {
    for (number, &value) in (0..).zip(&registers.x) {
        set(vcpu, core(number), value)?;
    }
    set(vcpu, PC, registers.pc)?;
    set(vcpu, PSTATE_REGISTER, PSTATE)
}

/// Returns the address of the vCPU's next instruction.
pub(crate) fn position(vcpu: &VcpuFd) -> Result<u64> {
    get(vcpu, PC)
}

/// Returns the counter that the guest's time stamps are from.
pub(crate) fn counter(vcpu: &VcpuFd) -> Result<u64> {
    get(vcpu, COUNTER)
}

/// Returns true if this exit is the guest's write to [`layout::DONE`].
pub(crate) fn is_done(exit: &VcpuExit<'_>) -> Result<bool> {
    match exit {
        VcpuExit::MmioWrite(layout::DONE, _) => Ok(true),
        VcpuExit::MmioWrite(layout::FAULT, _) => Err(anyhow!("an exception in the guest")),
        _ => Ok(false),
    }
}

// The registers have the kernel's numbers. The last but one is SCTLR_EL1.
const _: () = assert!(core(0) == 0x6030_0000_0010_0000);
const _: () = assert!(PC == 0x6030_0000_0010_0040);
const _: () = assert!(PSTATE_REGISTER == 0x6030_0000_0010_0042);
const _: () = assert!(system(3, 0, 1, 0, 0) == 0x6030_0000_0013_c080);
const _: () = assert!(COUNTER == 0x6030_0000_0013_df1a);

// Nothing overlaps. The addresses of devices are mapped, and are no memory.
const _: () = {
    /// Returns true if all `ranges`, of an address and a size, are between `from` and `to`, and none overlaps another.
    const fn are_apart(ranges: &[(u64, u64)], from: u64, to: u64) -> bool {
        let mut at = 0;
        while at < ranges.len() {
            let (begin, size) = ranges[at];
            if begin < from || begin + size > to {
                return false;
            }
            let mut other = 0;
            while other < at {
                let (other_begin, other_size) = ranges[other];
                if begin < other_begin + other_size && other_begin < begin + size {
                    return false;
                }
                other += 1;
            }
            at += 1;
        }
        true
    }
    // A range overlaps itself, but not the one that begins at its end.
    assert!(!are_apart(&[(2, 2), (2, 2)], 0, 9));
    assert!(!are_apart(&[(2, 2), (3, 2)], 0, 9) && !are_apart(&[(3, 2), (2, 2)], 0, 9));
    assert!(are_apart(&[(2, 2), (4, 2)], 2, 6));
    assert!(!are_apart(&[(2, 2)], 3, 9) && !are_apart(&[(2, 2)], 0, 3));

    let page = PAGE as u64;
    // Each write may have two time stamps.
    let stamps = 8 * 2 * layout::MOST_WRITES as u64;
    let memory = [
        (LEVEL1, page),
        (LEVEL2, page),
        (layout::CODE, page),
        (layout::COUNT, 4),
        (layout::stamps(0), stamps),
        (layout::stamps(1), stamps),
    ];
    assert!(are_apart(&memory, 0, layout::MEMORY));
    let devices = [
        (layout::DISTRIBUTOR, 0x1_0000),
        // Two frames of 64 KiB for each vCPU.
        (layout::REDISTRIBUTORS, 2 * 2 * 0x1_0000),
        (layout::DONE, 4),
        (layout::FAULT, 4),
        (layout::mmio(0), layout::mmio(100) - layout::mmio(0)),
    ];
    assert!(are_apart(&devices, layout::MEMORY, 1 << 30));
};
