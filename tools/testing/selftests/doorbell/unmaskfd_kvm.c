// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest's end of interrupt acks a line without a thread: the line's trigger is KVM's
 * irqfd, and the resamplefd of that irqfd is the line's ackfd, or ackfd and unmaskfd. The
 * guest counts its interrupts, so the counts of both sides can be compared.
 */
#include "doorbell_test.h"

#ifdef __x86_64__
#include <linux/kvm.h>

#define GSI		5
#define GUEST_SIZE	0x10000
#define GUEST_CODE	0x1000
#define GUEST_HANDLER	0x1100
/* The guest's number of interrupts. */
#define GUEST_COUNT	0x2000

/* Sets up the PIC for vectors from 0x20, with IRQ 5 only and level-triggered; then halts. */
static const uint8_t guest_code[] = {
	0xfa,				/* cli */
	0x31, 0xc0,			/* xor %ax, %ax */
	0x8e, 0xd8,			/* mov %ax, %ds */
	0x8e, 0xd0,			/* mov %ax, %ss */
	0xbc, 0x00, 0x80,		/* mov $0x8000, %sp */
	0xb0, 0x11, 0xe6, 0x20,		/* ICW1: outb 0x11, 0x20 */
	0xb0, 0x20, 0xe6, 0x21,		/* ICW2: the vectors */
	0xb0, 0x04, 0xe6, 0x21,		/* ICW3 */
	0xb0, 0x01, 0xe6, 0x21,		/* ICW4 */
	0xb0, 0xdf, 0xe6, 0x21,		/* the mask */
	0xba, 0xd0, 0x04,		/* mov $0x4d0, %dx: edge or level */
	0xb0, 0x20, 0xee,		/* outb 0x20, %dx */
	0xfb,				/* sti */
	0xf4,				/* hlt */
	0xeb, 0xfd,			/* jmp to the hlt */
};

/* Counts the interrupt, and ends it. */
static const uint8_t guest_handler[] = {
	0x66, 0xff, 0x06, 0x00, 0x20,	/* incl GUEST_COUNT */
	0xb0, 0x20, 0xe6, 0x20,		/* the end of the interrupt: outb 0x20, 0x20 */
	0xcf,				/* iret */
};

/* Returns early from KVM_RUN. */
static void nop(int sig)
{
	(void)sig;
}

struct vcpu {
	int fd;
	atomic_bool stop;
	atomic_bool ended;
	atomic_int error;
	pthread_t thread;
};

static void *run(void *arg)
{
	struct vcpu *vcpu = arg;

	pin_to(1);
	while (!atomic_load(&vcpu->stop)) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) && errno != EINTR && errno != EAGAIN) {
			atomic_store(&vcpu->error, errno);
			break;
		}
	}
	atomic_store(&vcpu->ended, true);
	return NULL;
}

FIXTURE(kvm) {
	int kmsg;
	int db;
	int vm;
	/* The line's trigger and KVM's irqfd; KVM's resamplefd. */
	int irq, eoi;
	struct vcpu vcpu;
	uint8_t *guest;
};

FIXTURE_VARIANT(kvm) {
	/* The kind of the eventfd that acks the line. None: a thread calls DOORBELL_ACK. */
	uint32_t reply;
	/* DOORBELL_TYPE_FLAG_AUTOMASK. */
	uint32_t type;
};

FIXTURE_VARIANT_ADD(kvm, ackfd) { .reply = DOORBELL_IRQFD_FLAG_ACK };
FIXTURE_VARIANT_ADD(kvm, intx) {
	.reply = DOORBELL_IRQFD_FLAG_ACK | DOORBELL_IRQFD_FLAG_UNMASK,
	.type = DOORBELL_TYPE_FLAG_AUTOMASK,
};
FIXTURE_VARIANT_ADD(kvm, thread) { };

FIXTURE_SETUP(kvm)
{
	struct doorbell_set_type type = {
		.type = DOORBELL_TYPE_LEVEL, .flags = variant->type,
	};
	struct kvm_userspace_memory_region memory = { .memory_size = GUEST_SIZE };
	struct sigaction action = { .sa_handler = nop };
	struct kvm_irqfd irqfd = { .gsi = GSI, .flags = KVM_IRQFD_FLAG_RESAMPLE };
	struct kvm_regs regs = { .rip = GUEST_CODE, .rflags = 2 };
	const uint16_t vector[] = { GUEST_HANDLER, 0 };
	struct kvm_sregs sregs;
	int kvm;

	pin_to(0);
	self->kmsg = kmsg_open();
	self->vcpu.fd = -1;
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		SKIP(return, "/dev/kvm: %s", strerror(errno));
	self->vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (self->vm < 0 || ioctl(self->vm, KVM_CREATE_IRQCHIP, 0))
		SKIP(return, "/dev/kvm cannot make a VM: %s", strerror(errno));
	/* Only some processors need it. */
	ioctl(self->vm, KVM_SET_TSS_ADDR, 0xfffbd000);
	self->guest = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(self->guest != MAP_FAILED);
	memcpy(self->guest + 4 * (0x20 + GSI), vector, sizeof(vector));
	memcpy(self->guest + GUEST_CODE, guest_code, sizeof(guest_code));
	memcpy(self->guest + GUEST_HANDLER, guest_handler, sizeof(guest_handler));
	memory.userspace_addr = (uintptr_t)self->guest;
	ASSERT_EQ(0, ioctl(self->vm, KVM_SET_USER_MEMORY_REGION, &memory));
	self->vcpu.fd = ioctl(self->vm, KVM_CREATE_VCPU, 0);
	ASSERT_LE(0, self->vcpu.fd);
	ASSERT_EQ(0, ioctl(self->vcpu.fd, KVM_GET_SREGS, &sregs));
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	ASSERT_EQ(0, ioctl(self->vcpu.fd, KVM_SET_SREGS, &sregs));
	ASSERT_EQ(0, ioctl(self->vcpu.fd, KVM_SET_REGS, &regs));

	self->db = new_context(_metadata, 1);
	self->irq = new_eventfd(_metadata, 0, 0);
	self->eoi = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_ioctl(self->db, DOORBELL_SET_TYPE, &type));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->irq, 0));
	if (variant->reply)
		ASSERT_EQ(0, doorbell_irqfd(self->db, self->eoi, 0, variant->reply, 0));
	irqfd.fd = self->irq;
	irqfd.resamplefd = self->eoi;
	ASSERT_EQ(0, ioctl(self->vm, KVM_IRQFD, &irqfd));
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	ASSERT_EQ(0, pthread_create(&self->vcpu.thread, NULL, run, &self->vcpu));
}

FIXTURE_TEARDOWN(kvm)
{
	if (self->vcpu.fd >= 0) {
		atomic_store(&self->vcpu.stop, true);
		EXPECT_TRUE(WAIT_FOR(pthread_kill(self->vcpu.thread, SIGUSR1) ||
				     atomic_load(&self->vcpu.ended)));
		pthread_join(self->vcpu.thread, NULL);
		EXPECT_EQ(0, atomic_load(&self->vcpu.error));
	}
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

static uint32_t interrupts(const uint8_t *guest)
{
	return __atomic_load_n((const uint32_t *)(guest + GUEST_COUNT), __ATOMIC_SEQ_CST);
}

/* The thread that an ackfd saves: it reads the resamplefd and acks the line. */
struct acker {
	int db;
	int eoi;
	atomic_bool stop;
	pthread_t thread;
};

static void *ack(void *arg)
{
	struct acker *acker = arg;

	pin_to(0);
	while (!atomic_load(&acker->stop)) {
		if (efd_poll(acker->eoi, POLLIN, 10) > 0 && efd_read(acker->eoi))
			doorbell_ack(acker->db, 0);
	}
	return NULL;
}

/* A source that stays asserted is delivered after each end of interrupt; counts agree. */
TEST_F(kvm, level)
{
	const uint32_t nr = debug_kernel() ? 100 : 1000;
	struct acker acker = { .db = self->db, .eoi = self->eoi };
	struct doorbell_query query;
	uint64_t start, took;
	uint32_t before, i;

	if (!variant->reply)
		ASSERT_EQ(0, pthread_create(&acker.thread, NULL, ack, &acker));
	/* One interrupt at a time, each by a ring of its own. */
	for (i = 1; i <= 20; i++) {
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
		ASSERT_TRUE(WAIT_FOR(interrupts(self->guest) == i));
		ASSERT_TRUE(WAIT_FOR(line_of(_metadata, self->db, 0).acks == i));
	}
	before = interrupts(self->guest);
	start = clock_us(CLOCK_MONOTONIC);
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(self->db, 0, 1));
	ASSERT_TRUE(WAIT_FOR(interrupts(self->guest) - before >= nr));
	took = clock_us(CLOCK_MONOTONIC) - start;
	before = interrupts(self->guest) - before;
	ASSERT_LE(0, doorbell_set_level(self->db, 0, 0));
	ksft_print_msg("%u interrupts, each after the last one's end: %.1f us each\n", before,
		       (double)took / before);

	/* The last one is acked, too, and then there is none. */
	ASSERT_TRUE(WAIT_FOR(!((query = line_of(_metadata, self->db, 0)).state &
			       (DOORBELL_LINE_ASSERTED | DOORBELL_LINE_PENDING)) &&
			     interrupts(self->guest) == query.deliveries));
	if (!variant->reply) {
		atomic_store(&acker.stop, true);
		pthread_join(acker.thread, NULL);
	}
	query = line_of(_metadata, self->db, 0);
	EXPECT_EQ(query.deliveries, interrupts(self->guest));
	EXPECT_EQ(query.deliveries, query.acks);
	EXPECT_EQ(query.deliveries + query.dropped, query.rings);
	EXPECT_EQ(DOORBELL_LINE_LEVEL | (variant->type ? DOORBELL_LINE_AUTOMASK : 0),
		  query.state);
	EXPECT_EQ(0, efd_count(self->eoi));
}

#else

TEST(guest)
{
	SKIP(return, "there is a guest for x86-64 only");
}
#endif

TEST_HARNESS_MAIN
