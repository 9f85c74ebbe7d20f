# SPDX-License-Identifier: GPL-2.0-only
#
# The tests, which Makefile builds.

PROGS := uapi client counter counter_read mask mask_race lineset level level_race resample notifier
PROGS += mask_reasons automask count ring_lines ring_wait ring_wait_race status status_mapping ring_if_needed
PROGS += wait_line wait_line_race
PROGS += lifetime barrier relay race prompt budget owned
PROGS += uring worker orphan hotplug reload unmaskfd
PROGS += save save_race errors_save
PROGS += moderation moderation_race errors_moderation
PROGS += region regions bus bus_race records records_race values
PROGS += summary summary_race poll
PROGS += errors errors_assign errors_lineset errors_level errors_bus errors_write errors_ring_wait
PROGS += errors_wait errors_summary errors_order
PROGS += fail_nth fail_nth_wait fail_nth_level fail_nth_bus fail_nth_save limits limits_eventfds memcg
PROGS += signals
PROGS += capi capi_callback capi_nested capi_bus
PROGS += trace
PROGS += ivshmem ivshmem_slow ivshmem_keep ivshmem_qemu

# Run a second time as 32-bit programs.
COMPAT_PROGS := uapi client mask mask_reasons automask count lineset ring_lines level resample unmaskfd
COMPAT_PROGS += ring_wait wait_line region regions bus records values
COMPAT_PROGS += moderation errors_moderation
COMPAT_PROGS += errors errors_assign errors_lineset errors_level errors_write errors_ring_wait
COMPAT_PROGS += errors_wait errors_order
COMPAT_PROGS += summary poll errors_summary
COMPAT_PROGS += save errors_save
