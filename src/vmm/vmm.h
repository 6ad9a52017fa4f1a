/* SPDX-License-Identifier: MIT */
/*
 * What the files of the library share. The way of an error:
 *
 *	relay_sig.c	a thread in KVM_RUN met it: into its vCPU's slot for that; an
 *			early notice, or a report: into the inbox of a vCPU
 *	exits.c		KVM's exit for MMIO is poison, and the guest stands before
 *	undo.c		the load again
 *	deliver.c	the thread of the vCPU takes both out, between two KVM_RUN:
 *	cpu.c, regs.c	can this vCPU take it now? which bank?
 *	round.c		on Intel all other vCPUs have to be told with it
 *	pure/encode.c	what the guest finds in the registers
 *	pass.c		memory goes: what KVM has sent of it comes before that
 *
 * It knows of libbezoar only what <bezoar/bezoar.h> says.
 */
#ifndef BEZOAR_VMM_INTERNAL_H
#define BEZOAR_VMM_INTERNAL_H

#include <bezoar/vmm.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "vmm/inbox.h"
#include "vmm/slots.h"

#define BZV_PAGE	4096u		/* of the guest */
#define BZV_WAIT	128		/* errors that wait for a vCPU */
#define BZV_OUTCOMES	10

#define BZV_MCG_SER_P	(1ull << 24)	/* MCG_CAP: recovery; SDM 15.3.1.1 */

/* Linux 6.8 */
#define BZV_EXIT_MEMORY_FAULT	39
#define BZV_MEMORY_FAULT_PRIVATE (1ull << 3)

/* Who understands what, from CPUID. */
struct bzv_kind {
	uint8_t known;
	uint8_t vendor;			/* enum bez_vm_vendor */
	uint8_t broadcast;		/* the others are to be told */
};

/* Is a vCPU in KVM_RUN? MAYBE: the monitor calls that itself, and does not say. */
enum bzv_in_run { BZV_OUT, BZV_IN, BZV_MAYBE };

/* A vCPU. All but what says otherwise is its own thread's. */
struct bez_vcpu {
	struct bez_vm *vm;
	int fd;
	uint32_t index;
	uint64_t number;		/* none has it again in this process */
	struct kvm_run *run;		/* immediate_exit: anybody sets it */
	uint64_t mcg_cap;
	struct bzv_kind kind;

	/*
	 * What this vCPU has met in the KVM_RUN that was left last: written by a
	 * handler on its own thread, and void with the next KVM_RUN.
	 */
	struct bzv_item met;
	_Atomic uint32_t has_met;	/* the same */

	struct bzv_inbox inbox;
	/* what came out of it and could not be told yet; in order */
	struct bzv_item wait[BZV_WAIT];
	uint32_t waiting;
	/* SRAR that is met again and again: first, last; CLOCK_MONOTONIC, or 0 */
	uint64_t held_since, held_last;
	uint64_t held_hva;		/* which */
	/* where KVM_RUN was entered once more, and when: operand.c */
	uint64_t again_ip, again_ns;

	_Atomic int32_t tid;		/* who runs it; 0: nobody yet */
	/* 1: we have set immediate_exit, before. Set by anybody, cleared by its
	 * thread */
	_Atomic uint32_t kicked;
	/* who are about to do so, or have just: bzv_kick() */
	_Atomic uint32_t kickers;
	_Atomic uint32_t inside;	/* bez_vcpu_run() or _deliver() runs */
	uint32_t by_run;		/* bez_vcpu_run() has run it */
	/* enum bzv_in_run; vm->going when it was last out of it. By its thread;
	 * pairs with bzv_let_pass() */
	_Atomic uint32_t in_run;
	_Atomic uint64_t was_out;
	/* vm->going when it did not come. By who has waited; pass.c */
	_Atomic uint64_t in_vain;
	_Atomic uint32_t holds;		/* something waits: for the ticker */
	_Atomic uint32_t called;	/* to a round. Set by who begins one, cleared
					 * by its thread */
	uint32_t round;			/* the last it took part in; vm->round_lock */
};

/* A piece of memory that libbezoar was told of. */
struct bzv_memory {
	uint64_t start, end;		/* hva */
	bez_region_t region;
	uint32_t slots;			/* that have it; lock */
	uint32_t goes;			/* it is being removed; lock */
	uint32_t passing;		/* in bzv_let_pass() because of it; lock */
	struct bzv_memory *next;
};

/* Other vCPUs are to be told at the same time. All: round_lock. */
struct bzv_round {
	uint32_t number;		/* of the last that was begun */
	uint32_t open;			/* 1: no verdict yet */
	uint32_t wanted, ready, refused; /* vCPUs */
	uint32_t verdict;		/* 1: tell them; 0: not now */
	uint32_t inside;		/* answer, or are told */
};

struct bez_vm {
	struct bez_vm_options o;
	struct bez_relay relay;
	uint64_t mcg_supported;

	pthread_mutex_t lock;		/* of what is written rarely */
	struct bzv_slots slots;		/* lock; readers: none */
	struct bzv_memory *memory;	/* lock */
	/* the vCPUs, NULL where one has gone, until another comes; lock. Readers
	 * have that, round_lock (to kick), or count themselves in senders */
	_Atomic(struct bez_vcpu *) *vcpu;
	_Atomic uint32_t vcpus;		/* entries used; lock */
	uint32_t alive;			/* lock */
	/* who looks at vCPUs without a lock, maybe in a handler: none of them
	 * goes while there is one */
	_Atomic uint32_t senders;
	_Atomic uint64_t going;		/* how often memory was about to go; pass.c */

	pthread_mutex_t round_lock;	/* taken after lock, if both are */
	pthread_cond_t round_news;
	struct bzv_round round;

	int has_ticker;			/* bez_vm_create() */
	/* KVM knows UCNA (Linux 6.0); before, it makes a #MC of it */
	uint32_t has_ucna;
	int sync_regs;			/* bzv_can_sync() */
	/* bits of a guest address; any vCPU that looks at its CPUID */
	_Atomic uint32_t wide;
	pthread_t ticker;
	pthread_cond_t tick;		/* with lock */
	uint32_t ticks;			/* it runs; lock */
	uint32_t ends;			/* it is to end; lock */

	_Atomic uint64_t count[BZV_OUTCOMES];
};

/* relay_sig.c: bez_relay_fn, @arg is the VM. */
int bzv_relay(const struct bez_lost *lost, const void *context, void *arg);
/* Into its inbox, of any thread, and make it look. @vcpu NULL: the first that has room.
 * -ENOSPC, counted as FULL; -ENOENT: it is not there. Handler-safe. */
int bzv_post(struct bez_vm *vm, struct bez_vcpu *vcpu,
	     const struct bzv_item *item);
/* Make it leave KVM_RUN. Handler-safe. */
void bzv_kick(struct bez_vcpu *vcpu);

/*
 * exits.c: after KVM_RUN said @ran. BZV_EXIT_OURS: it was poison, or memory that is good
 * by now; the guest stands before the instruction, or behind it. BZV_EXIT_BOTH: the
 * same, and there is an exit of the monitor's as well. BZV_EXIT_YOURS: that alone.
 * *@ret_item says what it met; error NONE: nothing. Its hva is set if the library has
 * written there for the guest.
 */
enum bzv_exit {
	BZV_EXIT_YOURS, BZV_EXIT_OURS, BZV_EXIT_BOTH,
	BZV_EXIT_AGAIN			/* KVM_RUN once more */
};
enum bzv_exit bzv_exit_is_poison(struct bez_vcpu *vcpu, int ran,
				 struct bzv_item *ret_item);
/* Was the instruction at @ip (linear) in that page? */
int bzv_is_fetch(struct bez_vcpu *vcpu, uint64_t ip, uint64_t hva);

/* The memory of the guest's at this linear address of it: gpa and hva of @item. 0: none. */
int bzv_sees(struct bez_vcpu *vcpu, uint64_t linear, struct bzv_item *item);

/* operand.c: -EFAULT, and no address. */
enum bzv_exit bzv_silent(struct bez_vcpu *vcpu, struct bzv_item *item);

/* undo.c: the load at which KVM_RUN was left has not happened. 0 or -errno: the guest
 * stands in the middle of it. */
int bzv_undo(struct bez_vcpu *vcpu);

/* regs.c: void with the next KVM_RUN. Only where KVM_RUN has said -EINTR: nothing is left
 * of an instruction. 0 or -errno. */
struct bzv_regs {
	uint64_t ip;			/* linear */
	uint64_t cr4;
	int busy;			/* an event is on its way to it */
};
int bzv_regs(struct bez_vcpu *vcpu, struct bzv_regs *ret_regs);
/* Does KVM hand all of them out with KVM_RUN? */
int bzv_can_sync(int kvm_fd);

/* cpu.c */
enum bzv_ready {
	BZV_READY = 0,
	BZV_SERVES = 1,			/* another one: MCIP */
	BZV_OFF = 2,			/* CR4.MCE, MCG_CTL */
	BZV_FULL = 3,			/* no bank */
	BZV_LATER = 4			/* another event is on its way to it */
};

struct bzv_state {
	uint64_t mcg_status;
	uint8_t bank;			/* free; if READY */
	uint8_t lmce;			/* the guest wants it */
	uint64_t ip;			/* linear; of what is raised, if READY */
};

/* 0, or -errno of KVM. *@ret_ready: for an error of this kind, or for another vCPU's
 * (@other: in bank 1). */
int bzv_cpu_look(struct bez_vcpu *vcpu, enum bez_vm_error error, int other,
		 enum bzv_ready *ret_ready, struct bzv_state *ret_state);
/* It was told with another: nothing is left in its banks. 0 or -errno. */
int bzv_cpu_other_told(const struct bez_vcpu *vcpu);
/* What BEZ_VM_KEEP_MCE has to be asked for: MCG_CAP. */
int bzv_cpu_cap(struct bez_vcpu *vcpu);
/* Its CPUID, as far as it was set by now. */
void bzv_cpu_kind(struct bez_vcpu *vcpu);

/* round.c: all others can take it, and are told; then @tell(@arg) is called, 0 or
 * -errno, whose result this is. -EAGAIN: one of them can not now. */
int bzv_round(struct bez_vcpu *vcpu, int (*tell)(void *arg), void *arg,
	      uint32_t *ret_others);
/* Take part in that of another vCPU, if there is one. */
void bzv_round_join(struct bez_vcpu *vcpu);

/* deliver.c */
int bzv_set_mce(struct bez_vcpu *vcpu, uint8_t bank, uint64_t status,
		uint64_t addr, uint64_t misc, uint64_t mcg_status);

/* An error that waited for @gone, and bzv_post() has said why (@err) no other vCPU takes it:
 * the monitor is told that. */
void bzv_dropped(struct bez_vcpu *gone, const struct bzv_item *item, int err);

/* @vcpu was to be told with another, and KVM has refused that. */
void bzv_not_told(struct bez_vcpu *vcpu, int err);

/* The same for both ways in: vcpu.c. */
int bzv_delivered(struct bez_vcpu *vcpu, int ran);

/* list.c: what of @lost the slot shows. 0: nothing. Handler-safe. */
int bzv_shows(const struct bzv_piece *slot, const struct bez_lost *lost,
	      struct bez_vm_lost *ret);

/* pass.c: until each vCPU that is in KVM_RUN has left it, for a while; with no lock held. */
void bzv_let_pass(struct bez_vm *vm);

/* vm.c: the ticker makes who waits look again. */
void bzv_tick(struct bez_vm *vm);

static inline struct bez_vcpu *bzv_vcpu(struct bez_vm *vm, uint32_t i)
{
	return atomic_load_explicit(&vm->vcpu[i], memory_order_acquire);
}

/* KVM's dirty log does not see it. With no lock held. */
static inline void bzv_wrote(struct bez_vm *vm, uint64_t gpa, uint64_t len)
{
	if (vm->o.wrote && len)
		vm->o.wrote(vm, gpa, len, vm->o.wrote_arg);
}

#endif
