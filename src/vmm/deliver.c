/* SPDX-License-Identifier: MIT */
/*
 * On the thread of a vCPU, between two KVM_RUN: tell the guest.
 *
 * An error that this vCPU has just met (SRAR) is told now or not at all: the
 * registers say "the interrupted instruction", and after the next KVM_RUN that is another
 * one. If it cannot be told the instruction is run again and meets it again. All
 * other errors are about no instruction, or one that is over (a store); they wait in
 * order.
 */
#include "vmm/vmm.h"
#include "vmm/sys.h"
#include "vmm/pure/encode.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define NAP_NS	1000000u
#define BREAK_NS	2000000000u

/* One error on its way to the guest. */
struct telling {
	struct bez_vcpu *vcpu;
	const struct bzv_item *item;
	struct bez_vm_event event;
	struct bzv_state state;
	struct bzv_mce mce;
	int off;			/* HELD: the guest has not enabled it */
};

/* ------------------------------------------------------------------ events */

static void tell_event(struct telling *t, enum bez_vm_outcome outcome,
		       uint64_t counts)
{
	struct bez_vm *vm = t->vcpu->vm;

	atomic_fetch_add_explicit(&vm->count[outcome], counts,
				  memory_order_relaxed);
	if (!vm->o.event)
		return;
	t->event.time_ns = bzv_sys_now_ns();
	t->event.outcome = (uint16_t)outcome;
	vm->o.event(&t->event, vm->o.event_arg);
}

static void tell_monitor(struct telling *t, enum bez_vm_outcome outcome)
{
	tell_event(t, outcome, 1);
}

/* ---------------------------------------------------------------- one error */

int bzv_set_mce(struct bez_vcpu *vcpu, uint8_t bank, uint64_t status,
		uint64_t addr, uint64_t misc, uint64_t mcg_status)
{
	struct kvm_x86_mce mce = {
		.status = status, .addr = addr, .misc = misc,
		.mcg_status = mcg_status, .bank = bank,
	};

	return (int)bzv_sys_ioctl(vcpu->fd, KVM_X86_SET_MCE, &mce);
}

static int set_mce(void *arg)
{
	struct telling *t = arg;

	return bzv_set_mce(t->vcpu, t->state.bank, t->mce.status, t->mce.addr,
			   t->mce.misc, t->mce.mcg_status);
}

/* What the monitor may give back to KVM has to know of it. */
static void refresh(struct bez_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	if (run->kvm_valid_regs & KVM_SYNC_X86_EVENTS)
		bzv_sys_ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS,
			      &run->s.regs.events);
}

/* One memory may be in several slots: is the one that KVM has named still there? */
static int is_named(const struct bez_vm *vm, const struct bzv_item *item)
{
	struct bzv_piece p;

	return item->gpa &&
	       !bzv_order_find(&vm->slots.by_gpa, item->gpa, &p) &&
	       p.other + (item->gpa - p.start) == item->hva;
}

/* Where the guest has it, and whether there is still something to tell. */
static enum bez_vm_outcome locate(struct telling *t)
{
	struct bez_vm *vm = t->vcpu->vm;
	const struct bzv_item *item = t->item;
	uint64_t hva = item->hva, gpa = item->gpa;
	struct bzv_piece p;

	if (hva ? bzv_order_find(&vm->slots.by_hva, hva, &p) :
		  bzv_order_find(&vm->slots.by_gpa, gpa, &p))
		return BEZ_VM_OUTCOME_GONE;
	if (hva)
		gpa = is_named(vm, item) ? item->gpa :
					  p.other + (hva - p.start);
	else
		hva = p.other + (gpa - p.start);
	t->event.gpa = gpa & -(uint64_t)BZV_PAGE;
	t->event.hva = (void *)(hva & -(uint64_t)BZV_PAGE);
	t->event.width = item->width ? item->width : BZV_PAGE;
	/* of a report nobody here knows; the rest is in the inventory */
	if (item->hva && !bez_lost_in(t->event.hva, BZV_PAGE))
		return BEZ_VM_OUTCOME_GOOD;
	return BEZ_VM_OUTCOME_NONE;
}

/* UCNA on Intel needs Linux 6.0. And to a processor without recovery (SER_P), as a
 * guest of Intel's kind has on one of AMD's, an error that nobody has met would be the
 * end: it is told when it is met. A monitor that names the vendor knows its guest. */
static int is_unspeakable(const struct bez_vcpu *vcpu, enum bez_vm_error error)
{
	if (vcpu->kind.vendor != BEZ_VM_VENDOR_INTEL)
		return 0;
	return (error == BEZ_VM_ERROR_UCNA && !vcpu->vm->has_ucna) ||
	       (error == BEZ_VM_ERROR_SRAO && !vcpu->vm->o.vendor &&
		!(vcpu->mcg_cap & BZV_MCG_SER_P));
}

/* By a signal: KVM_RUN has not said. */
static int was_fetched(const struct telling *t)
{
	return t->item->by_signal &&
	       bzv_is_fetch(t->vcpu, t->state.ip, t->item->hva);
}

/*
 * DELIVERED, REFUSED, GONE or GOOD: that was it. HELD: not now. Of a huge page that
 * is lost the guest is told the page that was touched, and of each other when it
 * touches that: what Linux makes of a wider address is to keep all of it.
 */
static enum bez_vm_outcome tell(struct telling *t)
{
	struct bez_vcpu *vcpu = t->vcpu;
	const struct bzv_item *item = t->item;
	enum bez_vm_outcome done = locate(t);
	struct bzv_said said;
	enum bzv_ready ready;
	int r;

	if (done != BEZ_VM_OUTCOME_NONE)
		return done;
	if (!vcpu->kind.known)
		bzv_cpu_kind(vcpu);
	if (is_unspeakable(vcpu, (enum bez_vm_error)item->error)) {
		t->event.reason = -EOPNOTSUPP;
		return BEZ_VM_OUTCOME_REFUSED;
	}
	r = bzv_cpu_look(vcpu, (enum bez_vm_error)item->error, 0, &ready,
			 &t->state);
	if (r) {
		t->event.reason = r;
		return BEZ_VM_OUTCOME_REFUSED;
	}
	t->off = ready == BZV_OFF;
	if (ready != BZV_READY)
		return BEZ_VM_OUTCOME_HELD;
	said = (struct bzv_said){
		.vendor = (enum bez_vm_vendor)vcpu->kind.vendor,
		.error = (enum bez_vm_error)item->error,
		.gpa = t->event.gpa,
		.lsb = 12,
		.restart = item->restart,
		.at_ip = item->at_ip,
		.fetch = item->fetch || was_fetched(t),
		.lmce = t->state.lmce && item->error == BEZ_VM_ERROR_SRAR,
		.mcg_cap = (uint32_t)vcpu->mcg_cap,
	};
	bzv_encode(&said, &t->mce);
	r = vcpu->kind.broadcast && t->mce.mcg_status && !said.lmce ?
	    bzv_round(vcpu, set_mce, t, &t->event.others) : set_mce(t);
	if (r == -EAGAIN)
		return BEZ_VM_OUTCOME_HELD;
	t->event.reason = r;
	if (r)
		return BEZ_VM_OUTCOME_REFUSED;
	t->event.mcg_status = t->mce.mcg_status;
	t->event.mci_status = t->mce.status;
	t->event.mci_misc = t->mce.misc;
	t->event.bank = t->state.bank;
	refresh(vcpu);
	return BEZ_VM_OUTCOME_DELIVERED;
}

static void begin(struct telling *t, struct bez_vcpu *vcpu,
		  const struct bzv_item *item)
{
	memset(t, 0, sizeof(*t));
	t->vcpu = vcpu;
	t->item = item;
	t->event.vm = vcpu->vm;
	t->event.vcpu = vcpu;
	t->event.error = item->error;
}

/* --------------------------------------------------------------- what it met */

/* Somebody else may change something; the vCPU itself cannot. */
static void nap(struct bez_vm *vm)
{
	uint64_t ns = bzv_sys_now_ns() + NAP_NS;
	struct timespec until = { .tv_sec = (time_t)(ns / 1000000000u),
				  .tv_nsec = (long)(ns % 1000000000u) };

	pthread_mutex_lock(&vm->round_lock);
	pthread_cond_timedwait(&vm->round_news, &vm->round_lock, &until);
	pthread_mutex_unlock(&vm->round_lock);
}

static int give_up(struct telling *t)
{
	tell_monitor(t, BEZ_VM_OUTCOME_GAVE_UP);
	return -EHWPOISON;
}

/* It cannot go on, and cannot be told why. Who has enabled machine checks will most
 * likely take it in a moment. */
static int hold(struct telling *t)
{
	struct bez_vcpu *vcpu = t->vcpu;
	const struct bez_vm_options *o = &vcpu->vm->o;
	uint64_t now = bzv_sys_now_ns();
	int first, over;

	/* what is held without a break comes back after a round and a nap */
	if (vcpu->held_hva != t->item->hva ||
	    now - vcpu->held_last > (BREAK_NS < o->patience_ns ?
				     BREAK_NS : o->patience_ns))
		vcpu->held_since = 0;
	vcpu->held_hva = t->item->hva;
	first = !vcpu->held_since;
	if (first)
		vcpu->held_since = now;
	vcpu->held_last = now;
	over = now - vcpu->held_since > o->patience_ns;
	if (o->not_ready == BEZ_VM_NOT_READY_GIVE_UP && (t->off || over))
		return give_up(t);
	if (over || (o->not_ready == BEZ_VM_NOT_READY_PAUSE && t->off)) {
		vcpu->held_since = 0;
		tell_monitor(t, BEZ_VM_OUTCOME_PAUSED);
		return -EBUSY;
	}
	if (first)
		tell_monitor(t, BEZ_VM_OUTCOME_HELD);
	nap(vcpu->vm);
	return -EINTR;
}

/* Returns what bez_vcpu_deliver() does. */
static int tell_met(struct bez_vcpu *vcpu, const struct bzv_item *met)
{
	enum bez_vm_outcome did;
	struct telling t;

	begin(&t, vcpu, met);
	if (met->undone) {
		t.event.reason = met->undone;
		locate(&t);
		return give_up(&t);
	}
	if (met->error == BEZ_VM_ERROR_NONE) {
		/* a store that was done here: KVM does not know that the page
		 * is dirty */
		if (!met->restart && locate(&t) == BEZ_VM_OUTCOME_GOOD)
			tell_monitor(&t, BEZ_VM_OUTCOME_GOOD);
		return -EINTR;
	}
	did = tell(&t);
	if (did == BEZ_VM_OUTCOME_HELD)
		return hold(&t);
	vcpu->held_since = 0;
	tell_monitor(&t, did);
	if (did == BEZ_VM_OUTCOME_REFUSED)
		return give_up(&t);
	return -EINTR;
}

/* ---------------------------------------------------------------- what waits */

static int is_same(const struct bez_vm *vm, const struct bzv_item *a,
		   const struct bzv_item *b)
{
	uint64_t x = a->gpa, y = b->gpa;

	if (a->error != b->error)
		return 0;
	if ((a->hva && bez_vm_gpa(vm, (void *)a->hva, &x)) ||
	    (b->hva && bez_vm_gpa(vm, (void *)b->hva, &y)))
		return a->hva / BZV_PAGE == b->hva / BZV_PAGE;
	return x / BZV_PAGE == y / BZV_PAGE;
}

static void put_in_line(struct bez_vcpu *vcpu, const struct bzv_item *item)
{
	enum bez_vm_outcome did = BEZ_VM_OUTCOME_NONE;
	struct telling t;
	uint32_t i;

	for (i = 0; i < vcpu->waiting; i++)
		if (is_same(vcpu->vm, &vcpu->wait[i], item))
			did = BEZ_VM_OUTCOME_MERGED;
	if (!did && vcpu->waiting == BZV_WAIT)
		did = BEZ_VM_OUTCOME_FULL;
	if (!did) {
		vcpu->wait[vcpu->waiting++] = *item;
		return;
	}
	begin(&t, vcpu, item);
	locate(&t);
	tell_monitor(&t, did);
}

void bzv_dropped(struct bez_vcpu *gone, const struct bzv_item *item, int err)
{
	struct telling t;

	begin(&t, gone, item);
	t.event.vcpu = NULL;
	t.event.reason = err;
	locate(&t);
	tell_event(&t, BEZ_VM_OUTCOME_FULL, err != -ENOSPC);
}

void bzv_not_told(struct bez_vcpu *vcpu, int err)
{
	const struct bzv_item none = { .error = BEZ_VM_ERROR_NONE };
	struct telling t;

	begin(&t, vcpu, &none);
	t.event.reason = err;
	t.event.bank = 1;
	tell_monitor(&t, BEZ_VM_OUTCOME_REFUSED);
}

/* The inbox into the line. */
static void sort(struct bez_vcpu *vcpu)
{
	struct bzv_item item;

	while (!bzv_inbox_take(&vcpu->inbox, &item))
		put_in_line(vcpu, &item);
}

/* Each that can be told now. One that cannot does not let others of its kind pass. */
static void tell_waiting(struct bez_vcpu *vcpu)
{
	uint32_t i, kept = 0, held = 0;

	for (i = 0; i < vcpu->waiting; i++) {
		struct bzv_item item = vcpu->wait[i];
		enum bez_vm_outcome did = BEZ_VM_OUTCOME_HELD;
		struct telling t;

		begin(&t, vcpu, &item);
		if (!(held & 1u << item.error))
			did = tell(&t);
		else if (!item.told)
			locate(&t);	/* for the event */
		if (did == BEZ_VM_OUTCOME_HELD) {
			held |= 1u << item.error;
			if (!item.told)
				tell_monitor(&t, did);
			item.told = 1;
			vcpu->wait[kept++] = item;
			continue;
		}
		tell_monitor(&t, did);
	}
	vcpu->waiting = kept;
	atomic_store(&vcpu->holds, kept);
	if (kept)
		bzv_tick(vcpu->vm);
}

/* ----------------------------------------------------------------------- all */

static int wants_a_look(struct bez_vcpu *vcpu)
{
	return vcpu->waiting ||
	       atomic_load_explicit(&vcpu->called, memory_order_relaxed);
}

static int may_be_poison(const struct kvm_run *run, int ran)
{
	return ran ? ran == -EFAULT || ran == -EHWPOISON :
		     run->exit_reason == KVM_EXIT_MMIO ||
		     run->exit_reason == KVM_EXIT_INTERNAL_ERROR;
}

/*
 * A store that is over, and cannot be told of where it was. What is known of the page
 * is true all the same, and no instruction is to blame any more: it becomes an error
 * that waits.
 */
static void retired(struct bez_vcpu *vcpu, const struct bzv_item *met)
{
	struct bzv_item item = *met;

	item.error = BEZ_VM_ERROR_SRAO;
	item.restart = 1;
	item.at_ip = 0;
	item.by_signal = 0;
	put_in_line(vcpu, &item);
}

/* Void after this: the guest goes on. */
static int take_met(struct bez_vcpu *vcpu, struct bzv_item *ret_met)
{
	if (!atomic_load_explicit(&vcpu->has_met, memory_order_relaxed))
		return 0;
	atomic_signal_fence(memory_order_seq_cst);
	*ret_met = vcpu->met;
	atomic_store_explicit(&vcpu->has_met, 0, memory_order_relaxed);
	return 1;
}

static int is_over(const struct bzv_item *met)
{
	return met->error == BEZ_VM_ERROR_SRAR && !met->restart && !met->undone;
}

/* 0: not now. */
static int tell_store(struct bez_vcpu *vcpu, const struct bzv_item *met)
{
	enum bez_vm_outcome did;
	struct telling t;

	begin(&t, vcpu, met);
	did = tell(&t);
	if (did == BEZ_VM_OUTCOME_HELD)
		return 0;
	tell_monitor(&t, did);
	return 1;
}

static int deliver(struct bez_vcpu *vcpu, int ran)
{
	enum bzv_exit exit = BZV_EXIT_YOURS;
	struct bzv_item met;
	int has = take_met(vcpu, &met), r = -EINTR;

	if (may_be_poison(vcpu->run, ran))
		exit = bzv_exit_is_poison(vcpu, ran, &met);
	if (exit == BZV_EXIT_OURS || exit == BZV_EXIT_AGAIN)
		ran = -EINTR;
	has = exit == BZV_EXIT_OURS || exit == BZV_EXIT_BOTH ||
	      (has && ran == -EINTR);
	sort(vcpu);
	/* the guest goes on in the middle of that instruction */
	if (exit == BZV_EXIT_BOTH) {
		if (met.error == BEZ_VM_ERROR_SRAR)
			retired(vcpu, &met);
		else
			tell_met(vcpu, &met);	/* of the half that is stored */
		has = 0;
	}
	if (ran && ran != -EINTR)
		return ran;
	if (!ran) {
		/* the monitor completes it with the next KVM_RUN; after that */
		if (wants_a_look(vcpu))
			bzv_kick(vcpu);
		return 0;
	}
	bzv_round_join(vcpu);
	if (has && !is_over(&met))
		r = tell_met(vcpu, &met);
	else if (has && !tell_store(vcpu, &met))
		retired(vcpu, &met);
	if (r == -EINTR)
		tell_waiting(vcpu);
	return r;
}

int bzv_delivered(struct bez_vcpu *vcpu, int ran)
{
	if (atomic_load_explicit(&vcpu->kicked, memory_order_relaxed)) {
		atomic_store(&vcpu->kicked, 0);
		/* not before that one: the other way round in bzv_kick() */
		__atomic_store_n(&vcpu->run->immediate_exit, 0,
				 __ATOMIC_RELEASE);
		/* before we look at what it was for: pairs with bzv_kick() */
		atomic_thread_fence(memory_order_seq_cst);
	} else if (!ran && !vcpu->waiting && !may_be_poison(vcpu->run, ran) &&
		   bzv_inbox_empty(&vcpu->inbox)) {
		atomic_store_explicit(&vcpu->has_met, 0, memory_order_relaxed);
		return 0;
	}
	return deliver(vcpu, ran);
}
