// SPDX-License-Identifier: GPL-2.0-only

//! The code of the guest on arm64.
//!
//! The assembler places it in this crate's constants, and the VMM copies it to the guest's memory.
//! It is never executed here. It is position-independent. To disassemble it, use `objdump -d -j
//! .rodata.kvm_rtt` on the built library (`libkvm_rtt.rlib`).
//!
//! It runs at EL1. Before each run the VMM sets the program counter and these registers:
//!
//! | register | |
//! |---|---|
//! | x27 | address of the next time stamp |
//! | x1 | MMIO address of the writes |
//! | w9 | number of writes, not zero |
//! | w10 | value of the writes |
//! | x13 | address of the interrupt count, which all vCPUs share |
//! | w14 | number of interrupts to wait for, without writes |
//! | pstate | EL1, interrupts disabled |
//!
//! The code may change x0 to x3, w11 and w12, and the handler x4 to x6.

use crate::{
    boot::{self, Program, Registers},
    layout::{self, DONE, FAULT},
    memory,
    wiring::Address,
};

std::arch::global_asm!(
    r#"
	.pushsection .rodata.kvm_rtt, "a", @progbits
# Visible in the whole crate, which may be compiled as several units.
	.irp	name, code, mmio, hvc, circle, ping, pong, code_end
	.globl	kvm_rtt_\name
	.hidden	kvm_rtt_\name
	.endr

# Stores the time as the next time stamp. The barrier keeps the counter from being read early.
	.macro	stamp, scratch
	isb
	mrs	\scratch, cntvct_el0
	str	\scratch, [x27], #8
	.endm

	.balign	0x800
kvm_rtt_code:
# The end of a run. The VMM sets all registers before the next run.
kvm_rtt_done:
	movz	x0, #{done}, lsl #16
	str	wzr, [x0]
	b	kvm_rtt_done

# Writes to an MMIO address. Stamps: one before the first write, and one after each; n + 1.
kvm_rtt_mmio:
	stamp	x0
1:	str	w10, [x1]
	stamp	x0
	subs	w9, w9, #1
	b.ne	1b
	b	kvm_rtt_done

# The same with hypercalls: PSCI_VERSION, which returns a constant.
kvm_rtt_hvc:
	stamp	x0
1:	movz	x0, #0x8400, lsl #16
	hvc	#0
	stamp	x0
	subs	w9, w9, #1
	b.ne	1b
	b	kvm_rtt_done

# Writes to an MMIO address, and waits for an interrupt each time. Stamps: one before each write,
# and one by the handler; 2n. The wait is that of an idle CPU: it reads the count with interrupts
# disabled. A pending interrupt ends the wfi, and is taken after it.
kvm_rtt_circle:
1:	ldr	w11, [x13]
	stamp	x0
	msr	daifclr, #2
	str	w10, [x1]
2:	msr	daifset, #2
	ldr	w12, [x13]
	cmp	w11, w12
	b.ne	3f
	wfi
	msr	daifclr, #2
	isb
	b	2b
3:	subs	w9, w9, #1
	b.ne	1b
	b	kvm_rtt_done

# Ping: the same, but another vCPU is interrupted. This one polls the count. It makes both stamps,
# as for x86-64; 2n.
kvm_rtt_ping:
1:	ldr	w11, [x13]
	stamp	x0
	str	w10, [x1]
2:	yield
	ldr	w12, [x13]
	cmp	w11, w12
	b.eq	2b
	stamp	x0
	subs	w9, w9, #1
	b.ne	1b
	b	kvm_rtt_done

# Pong, the other vCPU: waits for n interrupts. Stamps: one by the handler each; n.
kvm_rtt_pong:
1:	msr	daifset, #2
	cbz	w14, kvm_rtt_done
	wfi
	msr	daifclr, #2
	isb
	b	1b

# The exception vectors. Those of the current level are at 0x200 (synchronous) and 0x280 (IRQ). An
# exception that is no interrupt is an error, which the VMM sees as a write.
	.balign	0x800
	.rept	5
	movz	x0, #{fault}, lsl #16
	str	wzr, [x0]
	b	.
	.balign	0x80
	.endr

# The interrupt handler: acknowledges the interrupt, counts, stamps, and ends the interrupt.
kvm_rtt_interrupt:
	mrs	x4, S3_0_C12_C12_0
	ldr	w5, [x13]
	add	w5, w5, #1
	str	w5, [x13]
	stamp	x6
	sub	w14, w14, #1
	msr	S3_0_C12_C12_1, x4
	isb
	eret
kvm_rtt_code_end:

	.purgem	stamp
	.popsection
"#,
    done = const DONE >> 16,
    fault = const FAULT >> 16,
);

extern "C" {
    static kvm_rtt_mmio: u8;
    static kvm_rtt_hvc: u8;
    static kvm_rtt_circle: u8;
    static kvm_rtt_ping: u8;
    static kvm_rtt_pong: u8;
}

/// An entry point of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Mmio,
    Hvc,
    Circle,
    /// The same code. Measured from one interrupt to the next.
    Whole,
    Ping,
    Pong,
}

impl Entry {
    /// Returns the entry of hypercalls.
    pub(crate) fn hypercall() -> Self {
        Entry::Hvc
    }

    /// Returns the offset from the beginning of the code.
    pub(crate) fn offset(self) -> u64 {
        let at = match self {
            Entry::Mmio => &raw const kvm_rtt_mmio,
            Entry::Hvc => &raw const kvm_rtt_hvc,
            Entry::Circle | Entry::Whole => &raw const kvm_rtt_circle,
            Entry::Ping => &raw const kvm_rtt_ping,
            Entry::Pong => &raw const kvm_rtt_pong,
        };
        memory::offset(at)
    }
}

/// Returns the program, which has one handler for all interrupts.
pub(crate) fn program() -> Program {
    Program {
        code: memory::code(),
    }
}

/// Returns the registers of the vCPU `id` at `entry`, for writes to `address`.
pub(crate) fn registers(entry: Entry, id: u64, n: u32, address: Option<Address>) -> Registers {
    let mut registers = boot::registers(entry.offset());
    registers.x[27] = layout::stamps(id);
    if let Some(Address::Mmio(address)) = address {
        registers.x[1] = address;
    }
    registers.x[9] = n.into();
    registers.x[10] = layout::VALUE.into();
    registers.x[13] = layout::COUNT;
    registers.x[14] = n.into();
    registers
}
