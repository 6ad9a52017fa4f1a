/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "ref_vm.h"

#include "action.h"
#include "kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#define BANK	9

static volatile uint64_t lost;
static struct action before;

uint64_t ref_gpa(const struct ref_slot *slot, size_t count, uint64_t hva)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (hva < slot[mid].start)
			high = mid;
		else if (hva >= slot[mid].end)
			low = mid + 1;
		else
			return slot[mid].gpa + (hva - slot[mid].start);
	}
	return UINT64_MAX;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	if (info->si_code == BUS_MCEERR_AR)
		lost = (uint64_t)info->si_addr;
}

int ref_vm_begin(void)
{
	return action_replace(on_sigbus, &before);
}

void ref_vm_end(void)
{
	action_put_back(&before);
}

int ref_vm_deliver(const struct kvm *k, const struct ref_slot *slot,
		   size_t count)
{
	struct {
		uint32_t nmsrs, pad;	/* struct kvm_msrs, with room */
		struct kvm_msr_entry entry[4];
	} msrs = { .nmsrs = 4 };
	struct kvm_x86_mce mce = {
		.status = 0xbd80000000000134, .misc = 0x8c, .mcg_status = 7,
		.bank = BANK,
	};
	struct kvm_sregs sregs;
	uint64_t hva = lost;

	if (!hva)
		return -ENODATA;
	lost = 0;
	mce.addr = ref_gpa(slot, count, hva & -4096ull);
	if (mce.addr == UINT64_MAX)
		return -ENOENT;
	msrs.entry[0].index = 0x17a;
	msrs.entry[1].index = 0x17b;
	msrs.entry[2].index = 0x400 + 4 * BANK;
	msrs.entry[3].index = 0x401 + 4 * BANK;
	if (ioctl(k->vcpu, KVM_GET_MSRS, &msrs) != 4 ||
	    ioctl(k->vcpu, KVM_GET_SREGS, &sregs))
		return -EIO;
	if ((msrs.entry[0].data & 4) || msrs.entry[1].data != UINT64_MAX ||
	    msrs.entry[2].data != UINT64_MAX || msrs.entry[3].data >> 63 ||
	    !(sregs.cr4 & 64))
		return -EBUSY;
	return ioctl(k->vcpu, KVM_X86_SET_MCE, &mce) ? -errno : 0;
}
