/* SPDX-License-Identifier: MIT */
/*
 * Can a vCPU take a machine check now? KVM_X86_SET_MCE returns 0 as well where it drops
 * it, and where it kills the guest with a triple fault (arch/x86/kvm/x86.c,
 * kvm_vcpu_ioctl_x86_set_mce()). So all that it looks at is looked at before.
 */
#include "vmm/vmm.h"
#include "vmm/sys.h"
#include "vmm/pure/encode.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Intel SDM vol. 4, table 2-2; AMD APM vol. 2, appendix A */
#define MSR_MCG_CAP	0x179u
#define MSR_MCG_STATUS	0x17au
#define MSR_MCG_CTL	0x17bu
#define MSR_MCG_EXT_CTL	0x4d0u
#define MSR_MC_CTL(i)	(0x400u + 4 * (i))
#define MSR_MC_STATUS(i) (0x401u + 4 * (i))

#define MCG_CTL_P	(1ull << 8)
#define MCG_LMCE_P	(1ull << 27)
#define MCG_MCIP	(1ull << 2)
#define LMCE_EN		(1ull << 0)
#define STATUS_VAL	(1ull << 63)
#define CR4_MCE		(1ull << 6)

#define OTHERS_BANK	1		/* by which the others are told */

/* struct kvm_msrs, with room. */
struct list {
	uint32_t nmsrs, pad;
	struct kvm_msr_entry entry[5];
};

_Static_assert(offsetof(struct list, entry) ==
	       offsetof(struct kvm_msrs, entries), "as KVM has it");

static void ask(struct list *list, uint32_t msr)
{
	list->entry[list->nmsrs++].index = msr;
}

/* All of them, in one call; what KVM does not know ends the list. */
static int get(const struct bez_vcpu *vcpu, struct list *list)
{
	long r = bzv_sys_ioctl(vcpu->fd, KVM_GET_MSRS, list);

	if (r < 0)
		return (int)r;
	return r == (long)list->nmsrs ? 0 : -ENXIO;
}

int bzv_cpu_cap(struct bez_vcpu *vcpu)
{
	struct list list = { .nmsrs = 0 };
	int r;

	ask(&list, MSR_MCG_CAP);
	r = get(vcpu, &list);
	if (!r)
		vcpu->mcg_cap = list.entry[0].data;
	return r;
}

static uint32_t banks(const struct bez_vcpu *vcpu)
{
	return (uint8_t)vcpu->mcg_cap;
}

/*
 * A processor that has met nothing finds no bank that is valid, as on a real machine. One
 * that was would stay so: Linux with recovery leaves what was not signalled (S) to be
 * found by looking in minutes, and the next round would wait for that.
 */
int bzv_cpu_other_told(const struct bez_vcpu *vcpu)
{
	struct list list = { .nmsrs = 0 };
	long r;

	ask(&list, MSR_MC_STATUS(OTHERS_BANK));
	r = bzv_sys_ioctl(vcpu->fd, KVM_SET_MSRS, &list);
	return r < 0 ? (int)r : r == 1 ? 0 : -ENXIO;
}

/* What another monitor, or an older one, has left there for the same end. */
static int is_nobodys(const struct kvm_msr_entry *ctl_status)
{
	struct bzv_mce mce;

	bzv_encode_other(&mce);
	return ctl_status[1].data == mce.status;
}

/* Reporting has to be enabled in it: nobody asks for uncorrected errors otherwise. */
static enum bzv_ready bank_is(const struct kvm_msr_entry *ctl_status, int raised)
{
	if (raised && ctl_status[0].data != UINT64_MAX)
		return BZV_OFF;
	return ctl_status[1].data & STATUS_VAL ? BZV_FULL : BZV_READY;
}

static void ask_bank(struct list *list, uint32_t bank)
{
	ask(list, MSR_MC_CTL(bank));
	ask(list, MSR_MC_STATUS(bank));
}

/* From the last but one down to the first; all were in use. The first is kept for
 * what is raised: a vCPU that waits to be told of that cannot look into the others
 * and clear them. */
static int find_bank(const struct bez_vcpu *vcpu, int raised,
		     enum bzv_ready *ret_ready, uint8_t *ret_bank)
{
	uint32_t i = banks(vcpu) - 1;

	while (i-- > 0) {
		struct list list = { .nmsrs = 0 };
		enum bzv_ready is;
		int r;

		if (i == OTHERS_BANK || (i == 0 && !raised))
			continue;
		ask_bank(&list, i);
		r = get(vcpu, &list);
		if (r)
			return r;
		is = bank_is(list.entry, raised);
		if (is == BZV_READY) {
			*ret_ready = is;
			*ret_bank = (uint8_t)i;
			return 0;
		}
		if (is == BZV_OFF)
			*ret_ready = is;
	}
	return 0;
}

/*
 * CR4.MCE. And nothing else is on its way to the guest: KVM puts an exception in the
 * place of another (a #DF: that is a triple fault), and has no room for an interrupt
 * beside it (kvm_multiple_exception(), kvm_check_and_inject_events()).
 */
static int is_enabled(struct bez_vcpu *vcpu, enum bzv_ready *ret_ready,
		      uint64_t *ret_ip)
{
	struct bzv_regs regs;
	int r = bzv_regs(vcpu, &regs);

	if (r)
		return r;
	*ret_ip = regs.ip;
	if (!(regs.cr4 & CR4_MCE))
		*ret_ready = BZV_OFF;
	else if (regs.busy)
		*ret_ready = BZV_LATER;
	return 0;
}

int bzv_cpu_look(struct bez_vcpu *vcpu, enum bez_vm_error error, int other,
		 enum bzv_ready *ret_ready, struct bzv_state *ret_state)
{
	/* what comes as an exception */
	const int raised = other || error == BEZ_VM_ERROR_SRAR ||
			   (error == BEZ_VM_ERROR_SRAO &&
			    vcpu->kind.vendor == BEZ_VM_VENDOR_INTEL);
	/* KVM tells it by an MCG_STATUS of 0, and stores that, too */
	const int clears = error == BEZ_VM_ERROR_UCNA &&
			   vcpu->kind.vendor == BEZ_VM_VENDOR_INTEL;
	const uint8_t bank = other ? OTHERS_BANK :
				     (uint8_t)(banks(vcpu) - 1);
	struct bzv_state state = { .bank = bank };
	enum bzv_ready ready = BZV_READY;
	struct list list = { .nmsrs = 0 };
	uint32_t ctl = 0, ext = 0;
	int r;

	ask(&list, MSR_MCG_STATUS);
	ask_bank(&list, bank);
	if (vcpu->mcg_cap & MCG_CTL_P) {
		ctl = list.nmsrs;
		ask(&list, MSR_MCG_CTL);
	}
	if (vcpu->mcg_cap & MCG_LMCE_P) {
		ext = list.nmsrs;
		ask(&list, MSR_MCG_EXT_CTL);
	}
	r = get(vcpu, &list);
	if (!r && (raised || clears)) {
		if (list.entry[0].data & MCG_MCIP)
			ready = BZV_SERVES;
		else if (!raised)
			ready = BZV_READY;
		else if (ctl && list.entry[ctl].data != UINT64_MAX)
			ready = BZV_OFF;
		else
			r = is_enabled(vcpu, &ready, &state.ip);
	}
	if (!r && ready == BZV_READY) {
		ready = other && is_nobodys(&list.entry[1]) ?
			BZV_READY : bank_is(&list.entry[1], raised);
		if (ready != BZV_READY && !other)
			r = find_bank(vcpu, raised, &ready, &state.bank);
	}
	if (r)
		return r;
	state.mcg_status = list.entry[0].data;
	state.lmce = ext && (list.entry[ext].data & LMCE_EN);
	*ret_ready = ready;
	*ret_state = state;
	return 0;
}

/* ------------------------------------------------------------------ CPUID */

#define CPUID_ROOM	256

static const struct kvm_cpuid_entry2 *leaf(const struct kvm_cpuid2 *all,
					   uint32_t function)
{
	uint32_t i;

	for (i = 0; i < all->nent; i++)
		if (all->entries[i].function == function)
			return &all->entries[i];
	return NULL;
}

static uint8_t vendor_of(const struct kvm_cpuid_entry2 *zero)
{
	char name[12];

	memcpy(name, &zero->ebx, 4);
	memcpy(name + 4, &zero->edx, 4);
	memcpy(name + 8, &zero->ecx, 4);
	return !memcmp(name, "AuthenticAMD", sizeof(name)) ||
	       !memcmp(name, "HygonGenuine", sizeof(name)) ?
	       BEZ_VM_VENDOR_AMD : BEZ_VM_VENDOR_INTEL;
}

/*
 * Intel SDM vol. 3B, 15.10.4.1: from family 6 model 0eh on, a machine check goes to
 * all processors, and the guest waits for all of them.
 */
static uint8_t is_broadcast(const struct kvm_cpuid_entry2 *one)
{
	uint32_t family = one->eax >> 8 & 15, model = one->eax >> 4 & 15;

	model |= one->eax >> 12 & 0xf0;
	return family > 6 || (family == 6 && model >= 14);
}

void bzv_cpu_kind(struct bez_vcpu *vcpu)
{
	const struct kvm_cpuid_entry2 *zero, *one, *wide;
	struct kvm_cpuid2 *all;

	vcpu->kind.vendor = vcpu->vm->o.vendor ? (uint8_t)vcpu->vm->o.vendor :
						 BEZ_VM_VENDOR_INTEL;
	all = calloc(1, sizeof(*all) +
			CPUID_ROOM * sizeof(struct kvm_cpuid_entry2));
	if (!all)
		return;
	all->nent = CPUID_ROOM;
	if (bzv_sys_ioctl(vcpu->fd, KVM_GET_CPUID2, all) >= 0) {
		zero = leaf(all, 0);
		one = leaf(all, 1);
		vcpu->kind.known = zero != NULL;
		if (zero && !vcpu->vm->o.vendor)
			vcpu->kind.vendor = vendor_of(zero);
		wide = leaf(all, 0x80000008);
		atomic_store_explicit(&vcpu->vm->wide,
				      wide && (uint8_t)wide->eax ?
					      (uint8_t)wide->eax : 36,
				      memory_order_relaxed);
		vcpu->kind.broadcast =
			vcpu->kind.vendor == BEZ_VM_VENDOR_INTEL &&
			!(vcpu->vm->o.flags & BEZ_VM_NO_BROADCAST) &&
			(!one || is_broadcast(one));
	}
	free(all);
}
