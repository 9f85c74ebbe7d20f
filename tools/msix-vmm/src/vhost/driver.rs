// SPDX-License-Identifier: GPL-2.0-only

//! The guest: a driver of one virtqueue.
//!
//! The driver posts a batch of one to eight requests, or always one, kicks the device, and halts until the interrupt
//! handler has found all answers. Only the handler reads the used ring, so a lost interrupt stops the
//! driver. The handler compares each answer with its request. Before one batch in eight the driver masks its
//! MSI-X vector. It then polls the pending bit, during which no interrupt may come, and unmasks the
//! vector.
//!
//! All state is in memory, in the words of [`Word`], or in the vCPU's registers. So the guest
//! is the same when the VMM goes on in another process.

use super::layout;
use anyhow::Result;
use kvm_rtt::Program;
use std::sync::atomic::Ordering;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// A word of the driver's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Word {
    /// Requests that were posted.
    Posted,
    /// Answers that the handler has found.
    Seen,
    /// The number of requests that may be posted now. Set by the run.
    Limit,
    /// The number of requests of the whole run. Set by the run.
    Total,
    /// Interrupts.
    Interrupts,
    /// Interrupts that found no answer.
    Empty,
    /// Answers that do not belong to the request, or that came in the wrong order.
    Wrong,
    /// Answers without a request.
    Invented,
    /// Kicks.
    Kicks,
    /// Times that the vector was masked.
    Masks,
    /// Interrupts of the masked vector.
    WhileMasked,
    /// One while no interrupt may come.
    Masked,
    /// See [`Phase`].
    Phase,
    /// State of the random numbers. Set by the run.
    Random,
    /// The size of the largest batch, a power of two, less one. Set by the run.
    Batch,
    /// See [`Masking`]. Set by the run.
    Masking,
}

/// The batches before which the driver masks its vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Masking {
    /// One in eight.
    Random,
    /// Each.
    Always,
    /// None.
    Never,
}

/// The number of [`Word`]s.
pub(crate) const WORDS: usize = Word::ALL.len();

impl Word {
    pub(crate) const ALL: [Word; 16] = [
        Word::Posted,
        Word::Seen,
        Word::Limit,
        Word::Total,
        Word::Interrupts,
        Word::Empty,
        Word::Wrong,
        Word::Invented,
        Word::Kicks,
        Word::Masks,
        Word::WhileMasked,
        Word::Masked,
        Word::Phase,
        Word::Random,
        Word::Batch,
        Word::Masking,
    ];

    pub(crate) const fn offset(self) -> u64 {
        8 * self as u64
    }

    pub(crate) fn get(self, memory: &GuestMemoryMmap) -> Result<u64> {
        let at = GuestAddress(layout::STATE + self.offset());
        Ok(memory.load(at, Ordering::Acquire)?)
    }

    pub(crate) fn set(self, memory: &GuestMemoryMmap, value: u64) -> Result<()> {
        let at = GuestAddress(layout::STATE + self.offset());
        Ok(memory.store(value, at, Ordering::Release)?)
    }
}

/// The activity of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Phase {
    /// It runs.
    Runs,
    /// It has reached the limit of requests.
    Idle,
    /// It waits for interrupts.
    Waits,
    /// It polls the pending bit of its masked vector.
    Polls,
    /// It has ended.
    Done,
}

std::arch::global_asm!(
    r#"
	.pushsection .rodata.msix_vhost, "a", @progbits
	.irp	name, code, start, interrupt, code_end
	.globl	msix_vhost_\name
	.hidden	msix_vhost_\name
	.endr

# rbx points to the words all the time.
msix_vhost_code:
msix_vhost_start:
	mov	ebx, {state}
# Fills the table entry, which is masked by the reset, and enables MSI-X.
	mov	edi, {entry}
	mov	dword ptr [rdi], 0xfee00000
	mov	dword ptr [rdi + 4], 0
	mov	dword ptr [rdi + 8], {cpu_vector}
	mov	dword ptr [rdi + 12], 0
	mov	edi, {control}
	mov	word ptr [rdi], 0x8000
	sti

.Lnext:
	mov	rax, [rbx + {posted}]
	cmp	rax, [rbx + {total}]
	jae	.Ldone
	mov	rcx, [rbx + {limit}]
	sub	rcx, rax
	ja	.Lbatch
	mov	qword ptr [rbx + {phase}], {idle}
	pause
	jmp	.Lnext

# r12: a random number, which is also the value of the requests; r14: the size of the batch, at most
# rcx; r13: zero if the vector is masked meanwhile.
.Lbatch:
	mov	qword ptr [rbx + {phase}], {runs}
	movabs	r12, 6364136223846793005
	imul	r12, [rbx + {random}]
	movabs	rdx, 1442695040888963407
	add	r12, rdx
	mov	[rbx + {random}], r12
	mov	r14, r12
	shr	r14, 33
	and	r14, [rbx + {batch}]
	inc	r14d
	cmp	r14, rcx
	cmova	r14, rcx
	mov	r13, r12
	shr	r13, 40
	and	r13d, 7
	mov	rdx, [rbx + {masking}]
	test	edx, edx
	jz	1f
	lea	r13d, [rdx - {always}]
1:	test	r13d, r13d
	jnz	.Lpost

# Masks the vector. When the entry has been read back, no interrupt is on its way.
	mov	edi, {entry}
	mov	dword ptr [rdi + 12], 1
	mov	eax, [rdi + 12]
	mov	qword ptr [rbx + {masked}], 1
	inc	qword ptr [rbx + {masks}]

# Posts one request: its ID is the number of requests, including this one.
.Lpost:
	mov	rax, [rbx + {posted}]
	mov	ecx, eax
	and	ecx, {slots} - 1
	lea	rdx, [rax + 1]
	mov	esi, ecx
	shl	esi, 4
	mov	[rsi + {requests}], rdx
	mov	[rsi + {requests} + 8], r12
	mov	esi, ecx
	shl	esi, 5
	mov	qword ptr [rsi + {answers}], 0
	add	ecx, ecx
	mov	esi, eax
	and	esi, {queue} - 1
	mov	[2 * rsi + {available} + 4], cx
	mov	[rbx + {posted}], rdx
	mov	edi, {available}
	mov	[rdi + 2], dx
	dec	r14d
	jnz	.Lpost

	mov	edi, {notify}
	mov	dword ptr [rdi], 0
	inc	qword ptr [rbx + {kicks}]
	test	r13d, r13d
	jnz	.Lwait

# Polls the pending bit, and unmasks the vector.
	mov	qword ptr [rbx + {phase}], {polls}
	mov	edi, {pba}
1:	pause
	mov	eax, [rdi]
	test	eax, {pending_bit}
	jz	1b
	mov	qword ptr [rbx + {masked}], 0
	mov	edi, {entry}
	mov	dword ptr [rdi + 12], 0

# Waits as an idle CPU does: sti enables interrupts only after the next instruction.
.Lwait:
	mov	qword ptr [rbx + {phase}], {waits}
1:	cli
	mov	rax, [rbx + {seen}]
	cmp	rax, [rbx + {posted}]
	je	2f
	sti
	hlt
	jmp	1b
2:	sti
	jmp	.Lnext

.Ldone:
	mov	qword ptr [rbx + {phase}], {done}
	mov	edx, {end}
	out	dx, al
	jmp	.Ldone

# The interrupt handler: checks all answers that are in the used ring.
msix_vhost_interrupt:
	push	rax
	push	rcx
	push	rdx
	push	rsi
	push	rdi
	push	r8
	inc	qword ptr [rbx + {interrupts}]
	cmp	qword ptr [rbx + {masked}], 0
	je	1f
	inc	qword ptr [rbx + {while_masked}]
1:	xor	r8d, r8d
2:	mov	rax, [rbx + {seen}]
	mov	edi, {used}
	cmp	ax, [rdi + 2]
	je	6f
	cmp	rax, [rbx + {posted}]
	jne	3f
	inc	qword ptr [rbx + {invented}]
	jmp	6f
# The element of the ring: the first descriptor, and the length of the answer.
3:	mov	esi, eax
	and	esi, {queue} - 1
	mov	ecx, eax
	and	ecx, {slots} - 1
	lea	edx, [rcx + rcx]
	cmp	[8 * rsi + {used} + 4], edx
	jne	4f
	cmp	dword ptr [8 * rsi + {used} + 8], {answer_size}
	jne	4f
# The answer: the ID, the value and one, the sequence number, which is the ID again.
	lea	rdx, [rax + 1]
	mov	esi, ecx
	shl	esi, 5
	cmp	[rsi + {answers}], rdx
	jne	4f
	cmp	[rsi + {answers} + 16], rdx
	jne	4f
	shl	ecx, 4
	mov	rdx, [rcx + {requests} + 8]
	inc	rdx
	cmp	[rsi + {answers} + 8], rdx
	je	5f
4:	inc	qword ptr [rbx + {wrong}]
5:	inc	r8d
	inc	qword ptr [rbx + {seen}]
	jmp	2b
6:	test	r8d, r8d
	jnz	7f
	inc	qword ptr [rbx + {empty}]
# x2APIC's EOI, whose value is zero.
7:	mov	ecx, 0x80b
	xor	eax, eax
	xor	edx, edx
	wrmsr
	pop	r8
	pop	rdi
	pop	rsi
	pop	rdx
	pop	rcx
	pop	rax
	iretq
msix_vhost_code_end:

	.popsection
"#,
    state = const layout::STATE,
    entry = const layout::TABLE + 16 * layout::QUEUE_VECTOR as u64,
    control = const layout::CONTROL,
    notify = const layout::NOTIFY,
    pba = const layout::PBA,
    pending_bit = const 1 << layout::QUEUE_VECTOR,
    cpu_vector = const layout::CPU_VECTOR,
    available = const layout::AVAILABLE,
    used = const layout::USED,
    requests = const layout::REQUESTS,
    answers = const layout::ANSWERS,
    answer_size = const layout::ANSWER_SIZE,
    queue = const layout::QUEUE_SIZE,
    slots = const layout::SLOTS,
    end = const layout::END,
    posted = const Word::Posted.offset(),
    seen = const Word::Seen.offset(),
    limit = const Word::Limit.offset(),
    total = const Word::Total.offset(),
    interrupts = const Word::Interrupts.offset(),
    empty = const Word::Empty.offset(),
    wrong = const Word::Wrong.offset(),
    invented = const Word::Invented.offset(),
    kicks = const Word::Kicks.offset(),
    masks = const Word::Masks.offset(),
    while_masked = const Word::WhileMasked.offset(),
    masked = const Word::Masked.offset(),
    phase = const Word::Phase.offset(),
    random = const Word::Random.offset(),
    batch = const Word::Batch.offset(),
    masking = const Word::Masking.offset(),
    always = const Masking::Always as u64,
    runs = const Phase::Runs as u64,
    idle = const Phase::Idle as u64,
    waits = const Phase::Waits as u64,
    polls = const Phase::Polls as u64,
    done = const Phase::Done as u64,
);

extern "C" {
    static msix_vhost_code: u8;
    static msix_vhost_start: u8;
    static msix_vhost_interrupt: u8;
    static msix_vhost_code_end: u8;
}

/// The offset of the first instruction.
pub(crate) fn start() -> u64 {
    offset(&raw const msix_vhost_start)
}

fn offset(of: *const u8) -> u64 {
    (of.addr() - (&raw const msix_vhost_code).addr()) as u64
}

/// Returns the program.
pub(crate) fn program() -> Program {
    let begin = &raw const msix_vhost_code;
    let len = offset(&raw const msix_vhost_code_end) as usize;
    Program {
        // SAFETY: The assembler places the labels in this order in one section, with constants between.
        code: unsafe { std::slice::from_raw_parts(begin, len) },
        handlers: vec![(layout::CPU_VECTOR, offset(&raw const msix_vhost_interrupt))],
    }
}

/// Prepares the memory of a guest that has not run yet: the descriptors and the words.
pub(crate) fn prepare(
    memory: &GuestMemoryMmap,
    requests: u64,
    batch: u64,
    seed: u64,
) -> Result<()> {
    const NEXT: u16 = 1;
    const WRITE: u16 = 2;
    for slot in 0..layout::SLOTS {
        let at = layout::DESCRIPTORS + 32 * u64::from(slot);
        let request = layout::REQUESTS + layout::REQUEST_SIZE * u64::from(slot);
        let answer = layout::ANSWERS + layout::ANSWER_STRIDE * u64::from(slot);
        let size = layout::REQUEST_SIZE as u32;
        descriptor(memory, at, request, size, NEXT, 2 * slot + 1)?;
        descriptor(memory, at + 16, answer, layout::ANSWER_SIZE, WRITE, 0)?;
    }
    Word::Total.set(memory, requests)?;
    Word::Batch.set(memory, batch - 1)?;
    Word::Random.set(memory, seed)
}

/// Leaves no room for the answer in the first request, as a driver with a defect does.
pub(crate) fn shorten_answer(memory: &GuestMemoryMmap) -> Result<()> {
    Ok(memory.write_obj(0u32, GuestAddress(layout::DESCRIPTORS + 16 + 8))?)
}

fn descriptor(
    memory: &GuestMemoryMmap,
    at: u64,
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
) -> Result<()> {
    memory.write_obj(address, GuestAddress(at))?;
    memory.write_obj(len, GuestAddress(at + 8))?;
    memory.write_obj(flags, GuestAddress(at + 12))?;
    memory.write_obj(next, GuestAddress(at + 14))?;
    Ok(())
}

/// Returns the index of the used ring.
pub(crate) fn used_index(memory: &GuestMemoryMmap) -> Result<u16> {
    Ok(memory.load(GuestAddress(layout::USED + 2), Ordering::Acquire)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_fits_its_page_and_has_its_entries() {
        let program = program();
        assert!((100..0x1000).contains(&program.code.len()));
        // mov ebx, STATE
        assert_eq!(program.code[start() as usize..][..5], [0xbb, 0, 0, 1, 0]);
        // push rax
        assert_eq!(program.code[program.handlers[0].1 as usize], 0x50);
        // iretq
        assert!(program.code.ends_with(&[0x48, 0xcf]));
    }

    #[test]
    fn words_follow_each_other() {
        for (at, word) in (0..).zip(Word::ALL) {
            assert_eq!(word.offset(), 8 * at, "{word:?}");
        }
    }
}
