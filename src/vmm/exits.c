/* SPDX-License-Identifier: MIT */
/*
 * Exits of KVM_RUN that are poison.
 *
 * Where KVM cannot read memory of the guest and the kernel does not say that it is
 * lost (no memory failure in it, a page that was closed by UFFDIO_POISON or has no
 * access), it takes the access for one to a device: KVM_EXIT_MMIO. To complete
 * that would hand the guest a byte that nobody wrote; undo.c makes the guest stand
 * before it, as at a real machine check.
 *
 * A store was retired before the exit, piece by piece if it is wide: the guest stands
 * behind it. Pieces that lie in good memory are stored here, those in lost memory are
 * lost with it, and the guest is told that it cannot go on there (RIPV clear, and EIPV:
 * with neither Linux panics); those that are a device's are the monitor's.
 */
#include "vmm/vmm.h"
#include "vmm/pure/touch.h"
#include "vmm/sys.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define EMULATION	1		/* KVM_INTERNAL_ERROR_EMULATION */
#define PIECES		64		/* of one store; the widest are 64 bytes */

/* Linux 6.8: behind the head of struct kvm_run */
struct memory_fault {
	uint64_t flags, gpa, size;
};

/* Asked of the library below, which enters it; memory that is closed for other reasons
 * is not touched. */
static int is_lost(const void *hva)
{
	if (bez_lost_in(hva, 1))
		return 1;
	bez_recover(hva, 1);
	return bez_lost_in(hva, 1);
}

/* The page of guest memory that @gpa is in. 0: none. */
static uint64_t host(const struct bez_vcpu *vcpu, uint64_t gpa,
		     struct bzv_piece *ret_slot)
{
	if (bzv_order_find(&vcpu->vm->slots.by_gpa, gpa, ret_slot))
		return 0;
	return ret_slot->other + (gpa - ret_slot->start);
}

/*
 * Of the byte at @gpa. Its slot may go meanwhile, and its region after it, or come back
 * with another: what cannot be had then is looked at once more.
 */
enum bzv_is { NOWHERE, LOST, GOOD, UNSAID };

static enum bzv_is is_what(const struct bez_vcpu *vcpu, uint64_t gpa,
			   struct bzv_piece *ret_slot, uint64_t *ret_hva)
{
	const struct bzv_order *order = &vcpu->vm->slots.by_gpa;
	uint32_t version;

	do {
		version = bzv_order_version(order);
		*ret_hva = host(vcpu, gpa, ret_slot);
		if (!*ret_hva)
			return NOWHERE;
		if (is_lost((void *)*ret_hva))
			return LOST;
		if (!bez_recover((void *)*ret_hva, 1))
			return GOOD;
	} while (bzv_order_version(order) != version);
	return UNSAID;
}

static void at(struct bzv_item *item, uint64_t hva, uint64_t gpa)
{
	item->hva = hva;
	item->gpa = gpa;
}

/* ---------------------------------------------------------------- stores */

/*
 * The monitor itself has no write access: a store here would be its end. Before Linux
 * 5.14, which says the same (EINVAL) of any memory, that is not found out.
 */
static int is_closed(uint64_t hva)
{
	const uint64_t page = -(uint64_t)BZV_PAGE;
	char here;

	return madvise((void *)(hva & page), BZV_PAGE, MADV_POPULATE_WRITE) &&
	       (errno == EINVAL || errno == ENOMEM) &&
	       !madvise((void *)((uint64_t)&here & page), BZV_PAGE,
			MADV_POPULATE_WRITE);
}

/* Of a store that KVM has cut: this piece. 0: it is the monitor's. */
static int store_piece(struct bez_vcpu *vcpu, struct bzv_item *item)
{
	struct kvm_run *run = vcpu->run;
	struct bzv_piece slot;
	uint64_t hva = host(vcpu, run->mmio.phys_addr, &slot);
	enum bzv_is is;

	if (!hva || (slot.flags & BEZ_VM_MAP_READ_ONLY))
		return 0;
	is = is_what(vcpu, run->mmio.phys_addr, &slot, &hva);
	if (is == NOWHERE || (is != LOST && is_closed(hva)))
		return 0;
	if (is == LOST ||
	    bez_copy((void *)hva, run->mmio.data, run->mmio.len)) {
		if (item->error == BEZ_VM_ERROR_NONE)
			at(item, hva, run->mmio.phys_addr);
		if (!bez_lost_in((void *)hva, 1))
			item->undone = -EHWPOISON;
		item->error = BEZ_VM_ERROR_SRAR;
	} else {
		if (item->error == BEZ_VM_ERROR_NONE)
			at(item, hva, run->mmio.phys_addr);
		bzv_wrote(vcpu->vm, run->mmio.phys_addr, run->mmio.len);
	}
	return 1;
}

/* All pieces of it; the one that is the monitor's is left in struct kvm_run. */
static enum bzv_exit store(struct bez_vcpu *vcpu, struct bzv_item *item)
{
	struct kvm_run *run = vcpu->run;
	enum bzv_exit is = BZV_EXIT_YOURS;
	long r = 0;
	int i;

	item->restart = 0;
	for (i = 0; i < PIECES && !r; i++) {
		if (run->exit_reason != KVM_EXIT_MMIO || !run->mmio.is_write ||
		    !store_piece(vcpu, item))
			return is;
		bzv_kick(vcpu);		/* no further than that instruction */
		r = bzv_sys_run(vcpu->fd);
		is = r ? BZV_EXIT_OURS : BZV_EXIT_BOTH;
	}
	if (r != -EINTR)
		item->undone = -EIO;
	return BZV_EXIT_OURS;
}

/* ---------------------------------------------------------------- each exit */

/*
 * It cannot be read, and is not known as lost. What the monitor has closed itself is the
 * monitor's (-EINVAL; before Linux 5.14 for all that is). All else is lost, and there was no
 * room to enter it: to hand that out would be to hand out a byte that nobody wrote.
 */
static enum bzv_exit unsaid(struct bez_vcpu *vcpu, struct bzv_item *item,
			    uint64_t hva, uint64_t gpa)
{
	void *page = (void *)(hva & -(uint64_t)BZV_PAGE);

	if (!madvise(page, BZV_PAGE, MADV_POPULATE_READ)) {
		item->undone = bzv_undo(vcpu);	/* good by now */
		return BZV_EXIT_OURS;
	}
	if (errno == EINVAL)
		return BZV_EXIT_YOURS;
	item->error = BEZ_VM_ERROR_SRAR;
	item->undone = -EHWPOISON;
	at(item, hva, gpa);
	return BZV_EXIT_OURS;
}

/* A load that is wide is cut as well: its last byte may be in the next page. */
static enum bzv_exit load(struct bez_vcpu *vcpu, struct bzv_item *item)
{
	const struct kvm_run *run = vcpu->run;
	uint64_t gpa = run->mmio.phys_addr, hva;
	uint32_t end = run->mmio.len - 1, i;
	struct bzv_piece slot;

	/* none of that length comes of KVM; it would go round for ever */
	if (!run->mmio.len)
		return BZV_EXIT_YOURS;
	for (i = 0; i <= end; i += end ? end : 1) {
		enum bzv_is is = is_what(vcpu, gpa + i, &slot, &hva);

		if (is == NOWHERE && !i)
			return BZV_EXIT_YOURS;
		if (is == UNSAID)
			return unsaid(vcpu, item, hva, gpa + i);
		if (is == LOST) {
			item->error = BEZ_VM_ERROR_SRAR;
			at(item, hva, gpa + i);
			break;
		}
	}
	/* or good by now: the guest does it once more */
	item->undone = bzv_undo(vcpu);
	return BZV_EXIT_OURS;
}

static enum bzv_exit memory_fault(struct bez_vcpu *vcpu, struct bzv_item *item)
{
	struct memory_fault fault;
	struct bzv_piece slot;

	/* the union behind the head */
	memcpy(&fault, &vcpu->run->hw, sizeof(fault));
	if (fault.flags & BZV_MEMORY_FAULT_PRIVATE)
		return BZV_EXIT_YOURS;
	at(item, host(vcpu, fault.gpa, &slot), fault.gpa);
	if (!item->hva || !is_lost((void *)item->hva))
		return BZV_EXIT_YOURS;
	item->error = BEZ_VM_ERROR_SRAR;
	return BZV_EXIT_OURS;
}

int bzv_sees(struct bez_vcpu *vcpu, uint64_t linear, struct bzv_item *item)
{
	struct kvm_translation t;
	struct bzv_piece slot;

	memset(&t, 0, sizeof(t));
	t.linear_address = linear;
	if (bzv_sys_ioctl(vcpu->fd, KVM_TRANSLATE, &t) || !t.valid)
		return 0;
	at(item, host(vcpu, t.physical_address, &slot), t.physical_address);
	return item->hva != 0;
}

static int is_lost_linear(struct bez_vcpu *vcpu, uint64_t linear,
			  struct bzv_item *item)
{
	return bzv_sees(vcpu, linear, item) && is_lost((void *)item->hva);
}

/* KVM cannot fetch the instruction that it was to emulate. */
static enum bzv_exit fetch(struct bez_vcpu *vcpu, struct bzv_item *item)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	uint64_t ip;

	if (vcpu->run->internal.suberror != EMULATION ||
	    bzv_sys_ioctl(vcpu->fd, KVM_GET_REGS, &regs) ||
	    bzv_sys_ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return BZV_EXIT_YOURS;
	ip = regs.rip + sregs.cs.base;
	if (!is_lost_linear(vcpu, ip, item) &&
	    !is_lost_linear(vcpu, ip + BZV_LONGEST - 1, item))
		return BZV_EXIT_YOURS;
	item->error = BEZ_VM_ERROR_SRAR;
	item->fetch = 1;
	return BZV_EXIT_OURS;
}

/*
 * A signal does not say how the page was touched; but who stands in it has not had
 * the instruction.
 */
int bzv_is_fetch(struct bez_vcpu *vcpu, uint64_t ip, uint64_t hva)
{
	struct bzv_item item;

	return bzv_sees(vcpu, ip, &item) &&
	       item.hva / BZV_PAGE == hva / BZV_PAGE;
}

enum bzv_exit bzv_exit_is_poison(struct bez_vcpu *vcpu, int ran,
				 struct bzv_item *ret_item)
{
	struct bzv_item item = { .restart = 1, .at_ip = 1 };
	const struct kvm_run *run = vcpu->run;
	enum bzv_exit is = BZV_EXIT_YOURS;

	if (!ran && run->exit_reason == KVM_EXIT_MMIO)
		is = run->mmio.is_write ? store(vcpu, &item) :
					  load(vcpu, &item);
	else if (!ran && run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
		is = fetch(vcpu, &item);
	else if ((ran == -EFAULT || ran == -EHWPOISON) &&
		 run->exit_reason == BZV_EXIT_MEMORY_FAULT)
		is = memory_fault(vcpu, &item);
	else if (ran == -EFAULT)
		is = bzv_silent(vcpu, &item);
	if (is == BZV_EXIT_OURS || is == BZV_EXIT_BOTH) {
		item.time_ns = bzv_sys_now_ns();
		*ret_item = item;
	}
	return is;
}
