// SPDX-License-Identifier: GPL-2.0-only
/*
 * EBUSY, ELOOP and ENOSPC of irqfds, triggers and notifiers. A refused call must change
 * nothing; see errors.c. Runs as a 32-bit program, too.
 */
/* 32-bit ARM has no KVM, and no header of it. */
#ifndef __arm__
#include <linux/kvm.h>
#endif

#include "errors.h"

FIXTURE(errors_assign) {
	struct wiring w;
};

FIXTURE_SETUP(errors_assign)
{
	wiring_init(_metadata, &self->w);
}

FIXTURE_TEARDOWN(errors_assign)
{
}

/* EBUSY: an eventfd has one consumer, in this context and in any other. */
TEST_F(errors_assign, irqfd_in_use)
{
	struct wiring *w = &self->w;

	WIRE();
	REFUSED(EBUSY, irqfd(w, 1, 0, 0));
	REFUSED(EBUSY, irqfd(w, PER_DB, 0, 0));
	REFUSED(EBUSY, irqfd(w, PER_DB + 1, 0, 0));

	ASSERT_EQ(0, irqfd(w, 0, 0, DEASSIGN));
	w->irqfd[0] = NOWHERE;
	ASSERT_EQ(0, assign_irqfd(w, PER_DB, 0));
	ASSERT_TRUE(intact(w));
	REFUSED(EBUSY, irqfd(w, 0, 0, 0));
}

#ifndef __arm__
#ifdef __aarch64__
/* KVM accepts irqfds as soon as a GICv3 is initialised, which needs a vCPU. */
static int create_irqchip(int vm)
{
	__u64 distributor = 0x08000000, redistributors = 0x080a0000;
	struct kvm_create_device gic = { .type = KVM_DEV_TYPE_ARM_VGIC_V3 };
	struct kvm_device_attr attr = { .group = KVM_DEV_ARM_VGIC_GRP_ADDR };

	if (ioctl(vm, KVM_CREATE_VCPU, 0) < 0 || ioctl(vm, KVM_CREATE_DEVICE, &gic))
		return -1;
	attr.attr = KVM_VGIC_V3_ADDR_TYPE_DIST;
	attr.addr = (uintptr_t)&distributor;
	if (ioctl(gic.fd, KVM_SET_DEVICE_ATTR, &attr))
		return -1;
	attr.attr = KVM_VGIC_V3_ADDR_TYPE_REDIST;
	attr.addr = (uintptr_t)&redistributors;
	if (ioctl(gic.fd, KVM_SET_DEVICE_ATTR, &attr))
		return -1;
	attr.group = KVM_DEV_ARM_VGIC_GRP_CTRL;
	attr.attr = KVM_DEV_ARM_VGIC_CTRL_INIT;
	return ioctl(gic.fd, KVM_SET_DEVICE_ATTR, &attr);
}
#else
static int create_irqchip(int vm)
{
	return ioctl(vm, KVM_CREATE_IRQCHIP, 0);
}
#endif

/* An eventfd that is an irqfd of KVM may still be a trigger. */
TEST_F(errors_assign, kvm_irqfd)
{
	struct wiring *w = &self->w;
	struct kvm_irqfd mine = { .fd = w->efd[2], .gsi = 5 };
	int kvm, vm;

	WIRE();
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		SKIP(return, "/dev/kvm: %s", strerror(errno));
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0 || create_irqchip(vm))
		SKIP(return, "/dev/kvm cannot make a VM: %s", strerror(errno));

	ASSERT_EQ(0, doorbell_ioctl(vm, KVM_IRQFD, &mine));
	/* KVM consumes the counter, so check only that the refusal changed no assignment. */
	EXPECT_EQ(-EBUSY, irqfd(w, 1, 2, 0));
	EXPECT_EQ(0, line_of(_metadata, w->db[0], 1).nr_irqfds);
	EXPECT_EQ(1, info_of(_metadata, w->db[0]).nr_irqfds);
	mine.flags = KVM_IRQFD_FLAG_DEASSIGN;
	ASSERT_EQ(0, doorbell_ioctl(vm, KVM_IRQFD, &mine));
	w->count[2] = efd_count(w->efd[2]);
	ASSERT_TRUE(intact(w));
	ASSERT_EQ(0, assign_irqfd(w, 1, 2));
	ASSERT_TRUE(WAIT_FOR(same(w)));

	mine.flags = 0;
	REFUSED(EBUSY, doorbell_ioctl(vm, KVM_IRQFD, &mine));
}
#endif

/* ELOOP: a line's trigger may not be an irqfd that leads back to it. */
TEST_F(errors_assign, loop_direct)
{
	struct wiring *w = &self->w;

	ASSERT_EQ(0, assign_trigger(w, 0, 0));
	REFUSED(ELOOP, irqfd(w, 0, 0, 0));
	ASSERT_EQ(0, assign_irqfd(w, 1, 1));
	REFUSED(ELOOP, trigger(w, 1, 1, 0));

	/* Only the trigger was in the way. */
	ASSERT_EQ(0, trigger(w, 0, 0, DEASSIGN));
	w->trigger[0][0] = false;
	ASSERT_EQ(0, assign_irqfd(w, 0, 0));
	ASSERT_TRUE(intact(w));
}

TEST_F(errors_assign, loop_through_lines)
{
	struct wiring *w = &self->w;

	/* 0 -> 1 -> 2, with the last link half made. */
	ASSERT_EQ(0, assign_trigger(w, 0, 0));
	ASSERT_EQ(0, assign_irqfd(w, 1, 0));
	ASSERT_EQ(0, assign_irqfd(w, 2, 1));
	ASSERT_EQ(0, assign_trigger(w, 1, 1));
	ASSERT_EQ(0, assign_trigger(w, 2, 2));
	ASSERT_TRUE(intact(w));

	/* Back to the start and to the middle, after the trigger was assigned ... */
	REFUSED(ELOOP, irqfd(w, 0, 2, 0));
	REFUSED(ELOOP, irqfd(w, 1, 2, 0));
	REFUSED(ELOOP, irqfd(w, 2, 2, 0));
	/* ... and after the irqfd was assigned. */
	ASSERT_EQ(0, assign_irqfd(w, 0, 3));
	REFUSED(ELOOP, trigger(w, 2, 3, 0));
	REFUSED(ELOOP, trigger(w, 1, 3, 0));
	REFUSED(ELOOP, trigger(w, 0, 3, 0));
	/* Backwards over links that exist. */
	REFUSED(ELOOP, trigger(w, 2, 0, 0));
	REFUSED(ELOOP, trigger(w, 2, 1, 0));

	/* A forward link is no cycle; nor is one whose cycle has been cut. */
	ASSERT_EQ(0, assign_irqfd(w, 3, 2));
	ASSERT_EQ(0, irqfd(w, 1, 0, DEASSIGN));
	w->irqfd[0] = NOWHERE;
	ASSERT_EQ(0, assign_trigger(w, 2, 3));
	ASSERT_TRUE(intact(w));
}

/* ENOSPC: one trigger more than a line can have. */
TEST_F(errors_assign, too_many_triggers)
{
	struct wiring *w = &self->w;
	int extra[DOORBELL_MAX_TRIGGERS_PER_LINE];
	unsigned int i;

	WIRE();
	for (i = 0; i < ARRAY_SIZE(extra); i++) {
		extra[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_trigger(w->db[1], extra[i], 0));
	}
	ASSERT_EQ(-ENOSPC, trigger(w, PER_DB, 2, 0));
	/* The other errors come before ENOSPC. */
	EXPECT_EQ(-EEXIST, doorbell_assign_trigger(w->db[1], extra[0], 0));

	EXPECT_EQ(DOORBELL_MAX_TRIGGERS_PER_LINE,
		  line_of(_metadata, w->db[1], 0).nr_triggers);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(w->db[1], 0));
	for (i = 0; i < ARRAY_SIZE(extra); i++)
		EXPECT_EQ(1, efd_count(extra[i]));
	EXPECT_EQ(w->count[2], efd_count(w->efd[2]));

	/* The limit is per line; a deassign makes room again. */
	ASSERT_EQ(0, doorbell_assign_trigger(w->db[1], w->efd[2], 1));
	ASSERT_EQ(0, doorbell_deassign_trigger(w->db[1], extra[7], 0));
	ASSERT_EQ(0, trigger(w, PER_DB, 2, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(w->db[1], 0));
	EXPECT_EQ(1, efd_count(extra[7]));
	EXPECT_EQ(2, efd_count(extra[8]));
	EXPECT_EQ(w->count[2] + 1, efd_count(w->efd[2]));
}

/* ENOSPC: one notifier more than a line can have. */
TEST_F(errors_assign, too_many_notifiers)
{
	struct wiring *w = &self->w;
	int extra[DOORBELL_MAX_NOTIFIERS_PER_LINE];
	unsigned int i;

	WIRE();
	for (i = 0; i < ARRAY_SIZE(extra); i++) {
		extra[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_notifier(w->db[1], extra[i], 0, DOORBELL_NOTIFY_MASK));
	}
	ASSERT_EQ(-ENOSPC, notifier(w, PER_DB, 2, 0, DOORBELL_NOTIFY_MASK));
	EXPECT_EQ(DOORBELL_MAX_NOTIFIERS_PER_LINE,
		  line_of(_metadata, w->db[1], 0).nr_notifiers);
	EXPECT_EQ(1, doorbell_mask(w->db[1], 0));
	for (i = 0; i < ARRAY_SIZE(extra); i++)
		EXPECT_EQ(1, efd_count(extra[i]));
	EXPECT_EQ(w->count[2], efd_count(w->efd[2]));
	EXPECT_EQ(0, doorbell_unmask(w->db[1], 0));
}

TEST_HARNESS_MAIN
