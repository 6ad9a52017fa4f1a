/* SPDX-License-Identifier: MIT */
/*
 * bezoar-vmm - what a virtual machine monitor does when memory of its guest is
 * lost: the guest gets the machine check that a real machine would have had,
 * and the monitor lives on.
 *
 *	bez_start(NULL);
 *	bez_vm_create(&options, &vm);
 *	bez_vm_map(vm, 0, len, memory, 0, NULL);	(for each slot of KVM)
 *	bez_vcpu_add(vm, vcpu_fd, run, &vcpu);		(after KVM_SET_CPUID2)
 *
 *	for (;;) {					(on the thread of the vCPU)
 *		r = bez_vcpu_run(vcpu);			(instead of KVM_RUN)
 *		if (r == -EINTR)
 *			continue;			(nothing to do, or told)
 *		if (r)
 *			...				(see bez_vcpu_run())
 *		switch (run->exit_reason) ...		(what KVM_RUN left)
 *	}
 *
 * It is a library of its own, on libbezoar and KVM of x86-64. Guest memory is made
 * regions of libbezoar whose ladder is DEGRADE: what was lost is entered in the
 * inventory of <bezoar/lost.h> and stays lost, and from there it is carried to the
 * guest. A thread that is in KVM_RUN when the kernel tells it of a loss goes on; the
 * monitor's own accesses to guest memory are its own affair, and never the guest's:
 * use bez_vm_read() and bez_vm_write(), which return short.
 *
 * CAVEATS
 *
 *  - Devices that use guest memory by its old pages (VFIO), other processes that
 *    map it (vhost-user) and memory that is not mapped here at all (guest_memfd
 *    of TDX and SEV-SNP) are not covered. docs/vmm.md.
 *  - The guest decides what it makes of a machine check. An operating system that
 *    has none enabled, or that meets lost memory in its own kernel, dies as it
 *    would on a real machine.
 *
 * Every function returns 0 or a negative errno and touches what its ret_ arguments
 * point to only on success, unless it says otherwise. None may be called in a signal
 * handler, but for those that say so. This header compiles as C99 and C++11; nothing
 * in it needs a macro.
 */
#ifndef BEZOAR_VMM_H
#define BEZOAR_VMM_H

#include <stddef.h>
#include <stdint.h>

#include <bezoar/bezoar.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct bez_vm;
struct bez_vcpu;

/* ---------------------------------------------------------------- set-up */

/* Whose machine checks the guest understands. */
enum bez_vm_vendor {
	BEZ_VM_VENDOR_CPUID = 0,	/* as the CPUID of its vCPUs says */
	BEZ_VM_VENDOR_INTEL = 1,
	BEZ_VM_VENDOR_AMD = 2		/* and Hygon */
};

/* What becomes of an error while the guest cannot take it: it serves another one
 * (MCG_STATUS.MCIP), has not enabled machine checks (CR4.MCE), or has all banks
 * full. KVM would kill it with a triple fault, or drop the error. */
enum bez_vm_not_ready {
	/* Wait until it can. An error without which the vCPU cannot go on, and
	 * which it could still not take after patience_ns, is as with PAUSE. */
	BEZ_VM_NOT_READY_HOLD = 0,
	/* The same, and of such an error bez_vcpu_run() says -EBUSY at once if
	 * machine checks are not enabled: stop the guest, and decide. */
	BEZ_VM_NOT_READY_PAUSE = 1,
	/* As PAUSE, but with -EHWPOISON: this guest cannot go on. */
	BEZ_VM_NOT_READY_GIVE_UP = 2
};

struct bez_vm_event;

/* Told of what became of an error. In normal context, on the thread that runs the
 * vCPU or the one that called; with no lock held. @event lives as long as the call. */
typedef void (*bez_vm_event_fn)(const struct bez_vm_event *event, void *arg);

/* Make @vcpu leave KVM_RUN soon. kvm_run.immediate_exit is set already. Called by any
 * thread, also in a signal handler, with locks of the library held: it calls nothing
 * of it, and waits for nothing. */
typedef void (*bez_vm_kick_fn)(struct bez_vcpu *vcpu, void *arg);

/* [@gpa, @gpa + @len) was just written by the library for the monitor (bez_vm_write()) or
 * for the guest (a store that KVM left to it), or made zeros (bez_vm_reset()): mark it
 * dirty. On the thread that wrote, with no lock held, before the call returns or the
 * guest goes on. */
typedef void (*bez_vm_wrote_fn)(struct bez_vm *vm, uint64_t gpa, uint64_t len,
				void *arg);

#define BEZ_VM_LMCE	0x1u	/* offer LMCE where KVM has it: an error goes to one
				 * vCPU, if the guest wants that */
#define BEZ_VM_CMCI	0x2u	/* offer CMCI where KVM has it: UCNA interrupts */
#define BEZ_VM_NO_BROADCAST 0x4u /* Intel, no LMCE: tell one vCPU all the same */
#define BEZ_VM_KEEP_MCE	0x8u	/* KVM_X86_SETUP_MCE was done by you */

struct bez_vm_options {
	uint32_t size;			/* sizeof(struct bez_vm_options) */
	uint32_t flags;			/* BEZ_VM_* */
	int32_t kvm_fd;			/* of /dev/kvm; stays yours */
	int32_t vm_fd;			/* stays yours, and open until
					 * bez_vm_destroy() */
	uint32_t vendor;		/* enum bez_vm_vendor */
	uint32_t not_ready;		/* enum bez_vm_not_ready */
	uint32_t banks;			/* of a vCPU, 3 to 32; 0: 10 */
	uint32_t max_vcpus;		/* 0: 1,024 */
	int32_t kick_signal;		/* sent to the thread of a vCPU, see kick;
					 * has a handler; 0: none */
	uint32_t reserved;		/* 0 */
	uint64_t patience_ns;		/* see enum bez_vm_not_ready; 0: 10 s */
	bez_vm_kick_fn kick;		/* NULL: kick_signal is sent. With neither a
					 * vCPU is told of what others meet when it
					 * leaves KVM_RUN next */
	void *kick_arg;
	bez_vm_event_fn event;		/* NULL: nobody is told */
	void *event_arg;
	bez_vm_wrote_fn wrote;		/* NULL: nobody is told. KVM's dirty log does
					 * not see what is written from here */
	void *wrote_arg;
};

/*
 * Begin with a virtual machine. bez_start() was called.
 *
 * -EINVAL, -E2BIG: bad options. -ESRCH: libbezoar is not started. -EOPNOTSUPP: this
 * KVM has no machine checks (KVM_CAP_MCE), or kvm_fd is something else. -EBADF, -ENOMEM,
 * -EAGAIN (no thread).
 * Context: any; not in a handler (-EDEADLK).
 */
int bez_vm_create(const struct bez_vm_options *options, struct bez_vm **ret_vm);

/*
 * Remove its slots and regions, and end. NULL is fine. -EBUSY: it has vCPUs, or a
 * fault uses one of its regions; then its slots are gone, and it can be called again.
 * Context: any; not in a handler (-EDEADLK).
 */
int bez_vm_destroy(struct bez_vm *vm);

#define BEZ_VM_MAP_READ_ONLY 0x1u	/* KVM_MEM_READONLY: writes are the
					 * monitor's, an exit for MMIO */

/*
 * The guest sees [@hva, @hva + @len) at @gpa: the same that
 * KVM_SET_USER_MEMORY_REGION was told, before it is told that. The memory becomes a
 * region, with @policy (NULL: named "guest"); its actions must name DEGRADE, and no
 * relay: both are set where actions are all 0. A source is asked before the guest is
 * told. Memory that a slot of this machine has already may be given again at
 * another @gpa, whole or a part of it; @policy is not looked at then.
 *
 * -EINVAL: misaligned, empty, wraps around, a bad flag or policy. -EEXIST: overlaps a
 * slot, or (@hva) memory of a region in part. Else as bez_region_add().
 * Context: any; not in a handler (-EDEADLK).
 */
int bez_vm_map(struct bez_vm *vm, uint64_t gpa, uint64_t len, void *hva,
	       uint32_t flags, const struct bez_policy *policy);

/*
 * The slot that begins at @gpa is gone, after KVM was told so. What is lost in memory
 * that no other slot has is no longer this machine's, nor in the inventory. Each vCPU in
 * KVM_RUN is made to leave that first: what KVM has sent of the memory by then comes
 * before, if it comes within 200 ms.
 * -ENOENT. -ENOMEM: the slot is still there. -EBUSY: as bez_region_remove(); the slot is
 * gone.
 * Context: any; not in a handler (-EDEADLK).
 */
int bez_vm_unmap(struct bez_vm *vm, uint64_t gpa);

/* Where the guest sees @hva (the lowest, if it does so twice), and where its @gpa is
 * mapped. -ENOENT: nowhere. Context: any, handler-safe. */
int bez_vm_gpa(const struct bez_vm *vm, const void *hva, uint64_t *ret_gpa);
int bez_vm_hva(const struct bez_vm *vm, uint64_t gpa, void **ret_hva);

/*
 * A vCPU of it: what KVM_CREATE_VCPU has returned and its mapped struct kvm_run, both
 * yours until bez_vcpu_remove(). Sets up its machine checks (KVM_X86_SETUP_MCE):
 * banks, MCG_CTL, recovery (SER_P), what options.flags ask for and KVM has. Before
 * it runs first.
 *
 * -ENOSPC: max_vcpus. -EEXIST: it is one already. -EINVAL, or what KVM said.
 * Context: any; not in a handler (-EDEADLK).
 */
int bez_vcpu_add(struct bez_vm *vm, int vcpu_fd, void *run,
		 struct bez_vcpu **ret_vcpu);

/* It does not run, and never will; @vcpu is no more. NULL is fine. What waits for it is
 * another's, or there is an event (FULL). -EBUSY: it runs. Context: any; not in a
 * handler (-EDEADLK). */
int bez_vcpu_remove(struct bez_vcpu *vcpu);

/* -------------------------------------------------------------- its life */

/*
 * KVM_RUN on the calling thread, and what it takes to tell the guest of what was
 * lost. The thread is attached to libbezoar by the first call.
 *
 *	0		an exit that is yours is in struct kvm_run
 *	-EINTR		none: run it again. A signal came, or the guest was told
 *	-EBUSY		it cannot be told, see enum bez_vm_not_ready: run it again
 *			when something has changed (a reset, an incoming state)
 *	-EHWPOISON	it cannot go on
 *	another		as KVM_RUN said; -EFAULT also where memory of the guest was not
 *			mapped for a moment (by bez_inject(), say): run it again then
 *
 * kvm_run.immediate_exit is cleared here where the library has set it. Where you have you
 * clear it: on this thread, after -EINTR, and with a look of bez_vcpu_deliver() behind it.
 * bez_vcpu_run(3).
 *
 * A thread that does not come back here keeps the others from being told of what goes to
 * all (Intel): who stops a vCPU for long stops all, or calls bez_vcpu_remove().
 *
 * Poison that KVM takes for something else (an exit for MMIO inside memory,
 * KVM_EXIT_MEMORY_FAULT) is not handed to you: the instruction has not happened, and
 * the guest is told instead.
 * Context: the thread of the vCPU; one at a time.
 */
int bez_vcpu_run(struct bez_vcpu *vcpu);

/*
 * The same for who calls KVM_RUN himself, right after it: @ran is 0, or -errno. The
 * thread has called bez_thread_attach(), has SIGBUS open (also in the mask of
 * KVM_SET_SIGNAL_MASK), and calls KVM_RUN by ioctl(2).
 */
int bez_vcpu_deliver(struct bez_vcpu *vcpu, int ran);

/* Its number: the lowest that none had when it was added. Context: any, handler-safe. */
uint32_t bez_vcpu_index(const struct bez_vcpu *vcpu);

/* ---------------------------------------------------------------- errors */

/* What the guest is told. Pinned. */
enum bez_vm_error {
	BEZ_VM_ERROR_NONE = 0,
	BEZ_VM_ERROR_SRAR = 1,	/* action required: this vCPU met it */
	BEZ_VM_ERROR_SRAO = 2,	/* action optional: found before it was touched; on
				 * AMD a deferred error */
	BEZ_VM_ERROR_UCNA = 3,	/* uncorrected, and nobody is to do anything now */
	BEZ_VM_ERROR_CORRECTED = 4 /* nothing is lost */
};

/* What became of it. Pinned. */
enum bez_vm_outcome {
	BEZ_VM_OUTCOME_NONE = 0,
	BEZ_VM_OUTCOME_DELIVERED = 1,	/* the guest has it, and will see it */
	BEZ_VM_OUTCOME_HELD = 2,	/* waits, the guest cannot take it now */
	BEZ_VM_OUTCOME_PAUSED = 3,	/* the same, and you were told to stop it */
	BEZ_VM_OUTCOME_GAVE_UP = 4,	/* the guest cannot go on */
	BEZ_VM_OUTCOME_MERGED = 5,	/* the same waits already */
	BEZ_VM_OUTCOME_GONE = 6,	/* no slot has this memory any more */
	BEZ_VM_OUTCOME_GOOD = 7,	/* is not lost (any more): nothing to tell.
					 * Error NONE: the library has written there
					 * for the guest, and KVM does not know that
					 * it is dirty; see options.wrote */
	BEZ_VM_OUTCOME_FULL = 8,	/* too many wait; its vCPU was removed, and
					 * no other has room (reason: -ENOSPC) or is
					 * there (-ENOENT). An access meets it again */
	BEZ_VM_OUTCOME_REFUSED = 9	/* KVM said no, or the guest would die of
					 * it. Error NONE: it was to be told
					 * with another vCPU, which has been */
};

struct bez_vm_event {
	uint64_t time_ns;	/* CLOCK_MONOTONIC */
	uint64_t gpa;		/* of the page (4 KiB); GONE: 0 */
	void *hva;
	uint64_t width;		/* bytes of the extent that was lost */
	struct bez_vm *vm;
	struct bez_vcpu *vcpu;	/* NULL: none yet */
	uint16_t error;		/* enum bez_vm_error */
	uint16_t outcome;	/* enum bez_vm_outcome */
	int32_t reason;		/* REFUSED, FULL: -errno */
	uint64_t mcg_status;	/* DELIVERED: as the guest finds them */
	uint64_t mci_status;
	uint64_t mci_misc;
	uint32_t bank;
	uint32_t others;	/* vCPUs that were told with it: broadcast */
};

/* Static strings, never NULL. Context: any, handler-safe. */
const char *bez_vm_error_name(enum bez_vm_error error);
const char *bez_vm_outcome_name(enum bez_vm_outcome outcome);

/*
 * Tell the guest of an error that did not come as a signal: SRAO, UCNA or CORRECTED,
 * of what the host's log or the source of a migration knows. It is delivered by
 * @vcpu's thread, NULL: the first's that has room.
 * -ENOENT: no slot has @gpa, or there is no such vCPU. -ENOSPC: too many wait. -EINVAL.
 * UCNA on Intel needs Linux 6.0: REFUSED before. Context: any.
 */
int bez_vm_report(struct bez_vm *vm, struct bez_vcpu *vcpu,
		  enum bez_vm_error error, uint64_t gpa);

/* How often @outcome has come of an error. Context: any, handler-safe. */
uint64_t bez_vm_outcome_count(const struct bez_vm *vm,
			      enum bez_vm_outcome outcome);

/* ------------------------------------------- the monitor's own accesses */

/*
 * Copy to or from guest memory, over as many slots as it takes. Returns how many of
 * @len bytes were not copied, to the byte: from there on memory is lost, or there is
 * none; bez_vm_write() stops before a slot that is BEZ_VM_MAP_READ_ONLY as well.
 * Nothing is told to the guest: fail the one request (of a device, a hypercall).
 * What was written is not in KVM's dirty log: options.wrote.
 * Context: any.
 */
size_t bez_vm_read(struct bez_vm *vm, void *dst, uint64_t gpa, size_t len);
size_t bez_vm_write(struct bez_vm *vm, uint64_t gpa, const void *src, size_t len);

/* --------------------------------------------------------- what is lost */

struct bez_vm_lost {
	uint64_t gpa;
	uint64_t len;		/* bytes: what lies in one slot of one extent */
	void *hva;
	uint64_t time_ns;	/* CLOCK_MONOTONIC when it was lost */
};

/* Is any byte of the guest's [@gpa, @gpa + @len) lost? 1 or 0.
 * Context: any, handler-safe. */
int bez_vm_lost_in(const struct bez_vm *vm, uint64_t gpa, uint64_t len);

/*
 * What is lost, in the order of addresses: the first that ends after *@at, which is
 * 0 to begin with; *@at is its end then. -ENOENT: there is no more.
 * Context: any. With many, each call looks at all.
 */
int bez_vm_lost_next(const struct bez_vm *vm, uint64_t *at,
		     struct bez_vm_lost *ret_lost);

/*
 * The guest begins anew, and its memory is to be whole: what was lost gets fresh
 * memory with zeros, errors that wait are forgotten. No vCPU runs. @ret_left (or NULL):
 * bytes that are still lost, if it fails.
 *
 * -EBUSY: a vCPU runs. -EROFS: of a read-only slot, whose content is the monitor's to
 * bring back (bez_lost_fill()). Or as bez_lost_clear(); what could be healed is.
 * Context: any; not in a handler (-EDEADLK).
 */
int bez_vm_reset(struct bez_vm *vm, uint64_t *ret_left);

enum bez_vm_form {
	BEZ_VM_FORM_JSON = 0,	/* docs/vmm-lost.md */
	BEZ_VM_FORM_BINARY = 1
};

/*
 * What is lost, for the destination of a migration or a saved state. Returns how many
 * bytes that is, also if it is more than @len: then @dst holds nothing of use. It is
 * no string. Or -EINVAL, -ENOMEM, -E2BIG (more than 1,048,576 pieces). Context: any; not in a handler (-EDEADLK).
 */
int64_t bez_vm_export(struct bez_vm *vm, enum bez_vm_form form, void *dst,
		      size_t len);

/*
 * What an export said is lost here too: it is entered in the inventory and closed, so
 * that the guest gets the machine check that it would have had there. All its slots
 * are mapped, and no vCPU runs. The form is found out. Comes from a stranger: nothing
 * of it is believed.
 *
 * -EBADMSG: it is none, damaged, or contradicts itself. -EOPNOTSUPP: of a later
 * version. -E2BIG: more than 1,048,576 pieces. -ENOMEM. -ENOENT: it names memory that
 * the guest does not have. Nothing was changed then. -ENOSPC: the inventory, which the
 * process has one of, is full (32,768 extents: 128 MiB of pages of 4 KiB), or else as
 * bez_lost_add(); what was closed stays so.
 * Context: any; not in a handler (-EDEADLK).
 */
int bez_vm_import(struct bez_vm *vm, const void *from, size_t len);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
