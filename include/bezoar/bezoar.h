/* SPDX-License-Identifier: MIT */
/*
 * bezoar - live on when a page of memory is lost.
 *
 * When an uncorrected memory error hits a page, Linux sends SIGBUS to the
 * program with the address that is gone. bezoar takes that signal, finds out
 * whose memory it was, gets the good bytes from where the owner said they
 * are, puts a fresh page in place and lets the failed instruction run again.
 *
 *	static char table[1 << 20], copy[1 << 20];   (page-aligned, in real life)
 *
 *	struct bez_source from = bez_source_mirror(copy);
 *	struct bez_policy policy = BEZ_POLICY_INIT;
 *	bez_region_t region;
 *
 *	policy.name = "table";
 *	policy.source = &from;
 *	bez_start(NULL);
 *	bez_region_add(table, sizeof(table), &policy, &region);
 *
 * From here on a lost page of `table` is replaced from `copy`, by whichever
 * thread touches it first. That is the whole of the simple use; the rest of
 * this file is in the order of need: start, threads, regions, sources, what
 * happened.
 *
 * Words: a *region* is memory you registered; an *extent* is what one fault
 * takes away, its *width* the size of that; a *source* has the good bytes; the
 * *ladder* is the order of actions; an *outcome* is what recovery did.
 *
 * CAVEATS - what one lost page can still break:
 *
 *  - Thread-local storage. The kernel itself reads it (rseq) and kills the
 *    thread with SIGSEGV before any handler can run, the door's included.
 *  - The alternate signal stack, and bezoar's own tables.
 *  - A thread that blocks SIGBUS dies of the first lost page it touches:
 *    the kernel does not deliver a forced signal that is blocked.
 *  - Since Linux 6.12 nobody in user space can tell whether the interrupted
 *    instruction may be run again (RIPV). Where that matters, set
 *    BEZ_POLICY_NO_RESTART.
 *  - Errors that hit the kernel itself, or that the processor reports as
 *    having corrupted its context: the machine panics.
 *  - A child made by a bare clone(2) or _Fork() in the microsecond in which a
 *    page is being put in place can find zeros there; fork(2) cannot.
 *  - A program that closes every descriptor (closefrom) while another thread's
 *    page is being put in place takes the fence away for a moment; zeros may
 *    be seen until it stands again.
 *  - A huge page that cannot be split is reported as a whole, and its bad page can
 *    still be read: a thread that is slow to serve that report may undo what was
 *    written since the program itself had put another page there.
 *  - SIGBUS sent by processes is served while a fault is, one inside the other:
 *    a flood of it overflows the alternate stack, into a page without access.
 *  - A page that changed after its source was written comes back as the
 *    source has it. Give digests, and it is refused instead.
 *
 * Every function returns 0 or a negative errno and touches what its ret_
 * arguments point to only on success. *Context:* lines say where a function
 * may be called: `any` thread in normal code, or also in a handler. Where they
 * say "not in a handler (-EDEADLK)", that is bezoar's own, until it calls the
 * former action, and any other that interrupted such a call of the same thread;
 * from that one the program must return, and not jump out. In the former action
 * and in other handlers these calls work.
 *
 * This header compiles as C99 and C++11. Structs that carry a `size` are
 * extended at their end only: a library that is older than the header
 * answers -E2BIG to a field it does not know, if that field is not zero.
 */
#ifndef BEZOAR_BEZOAR_H
#define BEZOAR_BEZOAR_H

#include <stddef.h>
#include <stdint.h>

#include <bezoar/source.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define BEZ_VERSION_MAJOR 0
#define BEZ_VERSION_MINOR 1
#define BEZ_VERSION_PATCH 0

/* "0.1.0". A static string. Context: any, handler-safe. */
const char *bez_version(void);

/* ------------------------------------------------------------------ start */

#define BEZ_START_NO_WORKER	0x1u /* no helper thread: deferred sources fail */
#define BEZ_START_NO_EARLY_KILL	0x2u /* do not ask for early notice (AO) */
#define BEZ_START_NO_UFFD	0x4u /* always place pages by mremap(2) */
#define BEZ_START_SEGV_DOOR	0x8u /* take SIGSEGV, too: see below */
#define BEZ_START_SHUTDOWN_EXIT	0x10u /* BEZ_ACTION_SHUTDOWN ends with
				       * shutdown_status, not of the signal */

struct bez_options {
	uint32_t size;			/* sizeof(struct bez_options) */
	uint32_t flags;			/* BEZ_START_* */
	uint64_t claim_wait_ns;		/* patience with another thread's repair
					 * before asking again; 0: 2 s. After
					 * three of them the fault climbs, but
					 * not before the deadline of a deferred
					 * source that the other waits for. */
	uint32_t missing_rounds;	/* returns within a second for faults
					 * that come without an address; 0: 8;
					 * at most 254 */
	uint32_t reserved;		/* 0 */
	int32_t record_fd;		/* file, pipe or socket that gets a
					 * <bezoar/record.h> of each outcome;
					 * 0: none */
	int32_t record_text_fd;		/* the same for a line of text; 0: none */
	uint32_t record_rate;		/* most of them within a second, the rest
					 * is dropped and counted; 0: 1,000;
					 * UINT32_MAX: no limit */
	int32_t kin_fd;			/* who is told of a shutdown: a pipe,
					 * socket or file gets both records of
					 * it, an eventfd(2) a 1 for each;
					 * 0: none */
	uint64_t shutdown_ns;		/* for all hooks of a shutdown together,
					 * see <bezoar/shutdown.h>; 0: 5 s */
	uint32_t shutdown_status;	/* exit status of a shutdown, 0 to 255 */
	uint32_t reserved2;		/* 0 */
	const char *kin_socket;		/* where bezoard(8) listens: a path, or @ and
					 * an abstract name; copied. It gets the
					 * records, and record_fd those that it
					 * does not take. NULL: what the
					 * environment says in BEZOAR_SOCKET, if
					 * anything; "": nowhere */
};

/* Where bezoard(8) listens if nobody says otherwise; for kin_socket. */
#define BEZ_KIN_SOCKET "/run/bezoar/socket"

#define BEZ_OPTIONS_INIT \
	{ sizeof(struct bez_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL }

/*
 * Install the one SIGBUS handler, start the worker and attach the calling
 * thread. @options may be NULL. The action that was installed before is kept
 * and gets every SIGBUS that is not about a region.
 *
 * With BEZ_START_SEGV_DOOR the same is done for SIGSEGV. A page of a region
 * that is not mapped any more (an munmap(2) or a MAP_FIXED by mistake) is
 * mapped again with its bytes from the source, like the nearest mapping of the
 * region or, if there is none, as private anonymous memory. Memory without
 * access and guard pages are the program's own wish, and no loss. Where the
 * process ends because a page of a region, or the thread's own memory, was
 * lost and could not be replaced, one line on standard error says so before.
 * All else goes to the former action.
 *
 * Descriptors in @options are written to without ever waiting; they may be
 * closed afterwards.
 *
 * With kin_socket, or BEZOAR_SOCKET in the environment (not of a set-user-ID
 * program), a connection to bezoard(8) is made. That nobody listens there is no
 * error, nor that it is neither root nor this user who does: records go to
 * record_fd, and if there is none, as a line to standard error, if that is surely
 * for messages (bez_start(3)), and the worker connects when there is one more.
 *
 * -EALREADY: started already. -EINVAL, -E2BIG: bad options. -EBADF: a descriptor
 * that is not open for writing. -ENAMETOOLONG: kin_socket. Or what mmap(2),
 * sigaction(2), pthread_create(3), or open(2) of a pipe said; nothing was changed
 * then.
 * Context: any; not in a handler (-EDEADLK).
 */
int bez_start(const struct bez_options *options);

/*
 * Put the former actions back, end the worker, detach the calling
 * thread. Other threads detach themselves.
 *
 * -EBUSY: regions are still registered, or another handler was installed
 * after ours and may call us; nothing was changed. -ESRCH: not started.
 * Context: any; not in a handler, nor in on_lost (-EDEADLK).
 */
int bez_stop(void);

/*
 * Give the calling thread an alternate signal stack (a lost page of its own
 * stack kills it otherwise), unblock SIGBUS in it (with the door SIGSEGV, too)
 * and make sure that early notices go to the worker. A thread whose alternate
 * stack is large enough keeps it. Attaching twice is counted. In a child of
 * fork(2) it also gives the child a worker of its own.
 *
 * -ESRCH: not started. -EPERM: called on the alternate stack.
 * Context: any; not in a handler (-EDEADLK).
 */
int bez_thread_attach(void);

/*
 * Undo one bez_thread_attach(). At thread exit it happens by itself.
 * -EINVAL: not attached. -EPERM: called on the alternate stack.
 * Context: any; not in a handler (-EDEADLK).
 */
int bez_thread_detach(void);

/* ---------------------------------------------------------------- outcome */

/* What recovery did. The numbers are pinned and never reused. */
enum bez_outcome {
	BEZ_OUTCOME_NONE = 0,

	/* the program goes on */
	BEZ_OUTCOME_REPLACED = 1,	/* fresh page, good bytes, resumed */
	BEZ_OUTCOME_ALREADY_GOOD = 2,	/* somebody had replaced it: resumed */
	BEZ_OUTCOME_WAITED = 3,		/* waited for another thread's repair */
	BEZ_OUTCOME_ASKED_AGAIN = 4,	/* address unclear: run it again */
	BEZ_OUTCOME_NOTED = 5,		/* early notice: left to the worker */
	BEZ_OUTCOME_STALE = 6,		/* early notice of a page that is good */
	BEZ_OUTCOME_DROPPED = 7,	/* early notice lost: queue was full */
	BEZ_OUTCOME_COPY_SHORT = 8,	/* a copy came back with its count */
	BEZ_OUTCOME_UNWOUND = 16,	/* lost; left by a jump to a scope */
	BEZ_OUTCOME_RELAYED = 17,	/* lost; carried to where it belongs */

	/* BEZ_ACTION_SHUTDOWN, see <bezoar/shutdown.h> */
	BEZ_OUTCOME_SHUTDOWN_BEGUN = 20, /* its hooks are run */
	BEZ_OUTCOME_SHUTDOWN_LATE = 21,	/* the end; hooks were not done in time */
	BEZ_OUTCOME_SHUTDOWN_HURT = 22,	/* the end; a hook met a lost page */
	BEZ_OUTCOME_SHUTDOWN_BARE = 23,	/* the end; no worker to run hooks on */
	BEZ_OUTCOME_SHUTDOWN_WAITS = 24, /* another thread's: stays until the end */

	/* it could not be replaced, because of the memory */
	BEZ_OUTCOME_REFUSED_KIND = 32,	/* memory of a kind that cannot be */
	BEZ_OUTCOME_REFUSED_ATTRS = 33,	/* an attribute could not be kept */
	BEZ_OUTCOME_REFUSED_MAPS = 34,	/* vm.max_map_count is reached */
	BEZ_OUTCOME_REFUSED_NOMEM = 35,	/* no memory for the fresh page */
	BEZ_OUTCOME_REFUSED_UNMAPPED = 36, /* nothing is mapped there */
	BEZ_OUTCOME_REFUSED_RESTART = 38, /* region asked never to restart */
	BEZ_OUTCOME_REFUSED_SYSTEM = 39, /* the kernel refused otherwise */
	BEZ_OUTCOME_REFUSED_SHARED = 40, /* others could see it half done */
	BEZ_OUTCOME_REFUSED_HUGE = 41,	/* no free huge page */
	BEZ_OUTCOME_REFUSED_FILE = 42,	/* its file cannot be opened again */
	BEZ_OUTCOME_REFUSED_DETACH = 43, /* its file does not have it any more */

	/* it could not be entered as lost, or not be left */
	BEZ_OUTCOME_REFUSED_NO_SCOPE = 50, /* nowhere to jump to */
	BEZ_OUTCOME_REFUSED_INVENTORY = 51, /* no room to note one more */
	/* no shutdown */
	BEZ_OUTCOME_SHUTDOWN_TWICE = 60, /* there is one, and this is part of it */
	BEZ_OUTCOME_SHUTDOWN_INSIDE = 61, /* a source has met the loss: it failed */

	/* ... because of the source */
	BEZ_OUTCOME_SOURCE_NONE = 64,	/* the region has none */
	BEZ_OUTCOME_SOURCE_FAILED = 65,	/* it said so, or was short */
	BEZ_OUTCOME_SOURCE_LOST = 66,	/* poison in the source itself */
	BEZ_OUTCOME_SOURCE_DIGEST = 67,	/* its bytes do not match the digest */
	BEZ_OUTCOME_SOURCE_DEADLINE = 68, /* deferred callback was too late */
	BEZ_OUTCOME_SOURCE_WORKER = 69,	/* no worker to run it on, or busy */
	BEZ_OUTCOME_SOURCE_STALE = 70,	/* the file itself, and no digest */

	/* ... because of the course of things */
	BEZ_OUTCOME_LOOPING = 96,	/* same extent again and again */
	BEZ_OUTCOME_CLAIM_TIMEOUT = 97,	/* the repairer never finished */
	BEZ_OUTCOME_OWN_CLAIM = 98,	/* needs the page it is repairing */
	BEZ_OUTCOME_NESTED = 99,	/* faults inside faults, too deep */

	/* the end of the ladder */
	BEZ_OUTCOME_FOREIGN = 128,	/* not ours: passed to the former action */
	BEZ_OUTCOME_DEFAULT = 129,	/* ours, not saved: passed on as well */
	BEZ_OUTCOME_DEGRADED = 130,	/* entered as lost; nobody had to jump */
	BEZ_OUTCOME_SHUTDOWN = 131,	/* the end; all hooks are done */
	BEZ_OUTCOME_LEFT = 132		/* bez_recover() could not help, or
					 * bez_lost_add() not close it */
};

/*
 * A short name ("replaced from source") and one sentence on what to do about
 * it. Static strings, never NULL, "unknown" for numbers it does not know.
 * Context: any, handler-safe.
 */
const char *bez_outcome_name(enum bez_outcome outcome);
const char *bez_outcome_advice(enum bez_outcome outcome);

/* What the fault was. Pinned like outcomes. */
enum bez_cause {
	BEZ_CAUSE_NONE = 0,
	BEZ_CAUSE_POISON_AR = 1,	/* BUS_MCEERR_AR: action required */
	BEZ_CAUSE_POISON_AO = 2,	/* BUS_MCEERR_AO: action optional */
	BEZ_CAUSE_ADRERR = 3,		/* BUS_ADRERR: truncated or unreadable
					 * file; poison, on kernels without
					 * memory-failure support */
	BEZ_CAUSE_MISSING = 4,		/* poison without an address */
	BEZ_CAUSE_SENT = 5,		/* sent by a process, or another code */
	BEZ_CAUSE_RECOVER = 6,		/* no signal: bez_recover() found it */
	BEZ_CAUSE_SEGV = 7,		/* SIGSEGV: a page of a region is not
					 * mapped, or the thread's own memory
					 * was lost; BEZ_START_SEGV_DOOR */
	BEZ_CAUSE_CUT = 8,		/* ADRERR, and the file ends before it */
	BEZ_CAUSE_UNREADABLE = 9,	/* ADRERR, and the file cannot be read */
	BEZ_CAUSE_HOLE = 10,		/* ADRERR in shared memory: somebody began
					 * to replace the page */
	BEZ_CAUSE_SAID = 11		/* no signal: bez_lost_add() says so */
};

const char *bez_cause_name(enum bez_cause cause);

/* ---------------------------------------------------------------- regions */

enum bez_action {
	BEZ_ACTION_NONE = 0,
	BEZ_ACTION_REPLACE = 1,
	BEZ_ACTION_DEGRADE = 2,		/* enter it in the inventory of what is
					 * lost, see <bezoar/lost.h>, and leave by
					 * a jump, see <bezoar/scope.h> */
	BEZ_ACTION_SHUTDOWN = 3,	/* <bezoar/shutdown.h> */
	BEZ_ACTION_DEFAULT = 4		/* always last, named or not */
};

#define BEZ_NAME_MAX	31	/* bytes of a region's name, without the NUL */

#define BEZ_POLICY_NO_RESTART	0x1u /* never run an instruction again that
				      * consumed poison (AR) */
#define BEZ_POLICY_IS_MAPPED	0x2u /* you know that all of it is mapped:
				      * do not ask the kernel, which takes
				      * longer than all the rest. A hole is
				      * refused when it is lost */
#define BEZ_POLICY_BASE_PAGES	0x4u /* private huge page, and no free one:
				      * base pages will do */
#define BEZ_POLICY_DETACH	0x8u /* a page of a shared mapping that its
				      * file has lost (truncated, unreadable)
				      * may become memory of this process
				      * alone: what is written there later
				      * does not reach the file */

struct bez_lost;

/*
 * Told of a loss: on the worker, in normal context, once for each and in the order
 * of the losses, one at a time. It may do what any thread may, call all functions
 * of the library but bez_stop(), bez_lost_fill() and bez_region_remove() among them, and touch
 * what is lost in a scope of its own. What was lost stays lost meanwhile; other
 * threads may have met it before. What was cleared before its turn came, or whose
 * region was removed, is not told any more. @lost lives as long as the call.
 */
typedef void (*bez_lost_fn)(const struct bez_lost *lost, void *arg);

/*
 * Carries a loss to where it belongs: to the guest, say, whose memory the region
 * is. Asked in the handler, on the thread that has met a page which is entered as
 * lost, at every access and before a scope is looked for: does the thread go on
 * where it was interrupted without touching the page again? A signal is all that
 * shows; so it does if it was not an instruction of its own that met the page, but
 * a system call which the signal has ended. 1: it goes on (BEZ_OUTCOME_RELAYED). 0:
 * it is not ours; then a scope is looked for. To say 1 of an instruction that
 * touches the page is to have it run again and again.
 *
 * @context: the ucontext_t of what was interrupted. NULL: an early notice, told on
 * the worker, for each anew; 1 says that it was taken, and nothing else comes of
 * it. @lost: addr and width are of all that is lost, touched is of this access or
 * notice; it lives as long as the call. Not asked: for bez_copy() and its kin, which
 * come back with their count; for bez_recover(); inside a fault, of a source, say.
 *
 * It runs with nothing claimed, may call what is handler-safe, must not wait for
 * another thread and has to return. What it meets itself that is lost and cannot be
 * replaced ends it, like an answer of 0. bez_region_remove() waits for it.
 */
typedef int (*bez_relay_fn)(const struct bez_lost *lost, const void *context,
			    void *arg);

struct bez_relay {
	bez_relay_fn relay;
	void *arg;			/* passed to relay */
};

struct bez_policy {
	uint32_t size;			/* sizeof(struct bez_policy) */
	uint32_t flags;			/* BEZ_POLICY_* */
	const char *name;		/* for messages; copied; NULL: "" */
	const struct bez_source *source; /* copied, with its list; NULL: none */
	const uint64_t *digests;	/* one bez_digest() for each page, or
					 * NULL; stays yours, must outlive the
					 * region */
	uint8_t actions[4];		/* the ladder; all 0: REPLACE, DEFAULT */
	uint32_t max_repeats;		/* replacements of one extent within
					 * 100 ms of each other before the
					 * fault climbs; 0: 16; 4095 or more:
					 * never */
	const struct bez_shared *shared; /* the file behind a MAP_SHARED
					 * mapping, see <bezoar/shared.h>; NULL:
					 * shared memory is not replaced */
	bez_lost_fn on_lost;		/* told of each loss that is entered in
					 * the inventory; NULL: nobody */
	void *on_lost_arg;		/* passed to on_lost */
	const struct bez_relay *relay;	/* stays yours, must outlive the region;
					 * NULL: nobody is asked */
};

#define BEZ_POLICY_INIT \
	{ sizeof(struct bez_policy), 0, NULL, NULL, NULL, { 0, 0, 0, 0 }, 0, \
	  NULL, NULL, NULL, NULL }

/* Names one registration; 0 is never one, and none is used twice. */
typedef uint64_t bez_region_t;

/*
 * Register [@addr, @addr + @len): page-aligned, mapped, not overlapping
 * another region. Until it is removed the memory may be written, protected
 * and advised freely, but not unmapped, moved or mapped over.
 *
 * -EINVAL: misaligned, empty, wraps around, a bad policy (unknown flag, kind
 * or action, a list that nests or is too long, a mirror that overlaps the
 * region, a file offset with which it ends past INT64_MAX, on_lost without
 * BEZ_ACTION_DEGRADE or without a worker, relay without BEZ_ACTION_DEGRADE or
 * without a function). -EEXIST: overlaps a region.
 * -ENOMEM: part of it is not mapped, or no memory. -EBADF: a FILE source that
 * is not open. -ENAMETOOLONG, -E2BIG, -ESRCH (not started). Shared memory: see
 * <bezoar/shared.h>.
 * Context: any; not in a handler or a source (-EDEADLK).
 */
int bez_region_add(void *addr, size_t len, const struct bez_policy *policy,
		   bez_region_t *ret_region);

/*
 * Remove it and wait until no fault uses it any more: afterwards its memory
 * and sources may be freed. A forgotten callback can make that long: after
 * ten seconds the answer is -EBUSY; the region takes no new faults then, and
 * the call may be repeated.
 *
 * -ENOENT: no such region (or removed before). -ENOMEM: no memory to write the
 * table anew; it is still registered.
 * Context: any; not in a handler or a source (-EDEADLK).
 */
int bez_region_remove(bez_region_t region);

struct bez_region_info {
	uint32_t size;			/* sizeof(struct bez_region_info) */
	uint32_t last_outcome;		/* enum bez_outcome: of the last fault,
					 * or why it was not replaced */
	void *addr;
	size_t len;
	char name[BEZ_NAME_MAX + 1];
	uint64_t faults;		/* taken inside it by threads */
	uint64_t replaced;		/* extents replaced */
	uint64_t not_replaced;		/* climbed past replace */
	uint64_t notices;		/* early notices (AO) */
};

/* Set ret_info->size first. -ENOENT, -EINVAL. Context: any; not in a handler
 * (-EDEADLK). */
int bez_region_info(bez_region_t region, struct bez_region_info *ret_info);

/*
 * The region that holds @addr. -ENOENT: none. -EINVAL: ret_region is NULL.
 * Context: any, handler-safe; a handler that interrupts it must return, not
 * jump out.
 */
int bez_region_at(const void *addr, bez_region_t *ret_region);

/* ----------------------------------------------------------- what happened */

/* enum bez_placement: how pages are put in place, see bez_status. */
enum bez_placement {
	BEZ_PLACEMENT_UFFD = 1,		/* userfaultfd: system calls wait too */
	BEZ_PLACEMENT_UFFD_USER = 2,	/* same; a system call that hits the
					 * page at that moment gets EFAULT */
	BEZ_PLACEMENT_MREMAP = 3	/* staged page moved over it; who discards
					 * and writes a lost page at that
					 * moment may lose that */
};

struct bez_status {
	uint32_t size;			/* sizeof(struct bez_status) */
	uint32_t started;		/* 1 after bez_start() */
	uint32_t installed;		/* 1: SIGBUS still goes to us first */
	uint32_t placement;		/* enum bez_placement; 0: not known
					 * yet, in a child of fork(2) */
	uint32_t memory_failure;	/* 1: this kernel reports poison */
	uint32_t early_notice;		/* 1: the worker asked for AO */
	int32_t worker_tid;		/* 0: none */
	uint32_t threads;		/* attached now */
	uint64_t regions;		/* registered now */
	uint64_t faults;		/* every SIGBUS taken, and SIGSEGV */
	uint64_t foreign;		/* of these, passed on */
	uint64_t replaced;
	uint64_t not_replaced;
	uint32_t segv_door;		/* 1: so does SIGSEGV */
	uint32_t reserved;		/* 0 */
	uint64_t pinned;		/* bytes that a device may use by their
					 * old pages: VmPin of proc(5) */
	uint64_t records;		/* written to bez_options.record_fd */
	uint64_t records_dropped;	/* went nowhere: too many in a second, or
					 * it was not taken at once */
	uint64_t lost;			/* extents in the inventory */
	uint64_t records_sent;		/* taken by the socket of bezoard(8) */
	uint64_t records_said;		/* a line on standard error, as nobody else
					 * took them */
	uint32_t kin;			/* 1: connected to it, as far as is known */
	uint32_t reserved2;		/* 0 */
};

/*
 * Set ret_status->size first. Works before start and after stop too.
 * -EINVAL. Context: any, handler-safe.
 */
int bez_status(struct bez_status *ret_status);

/* How often @outcome has been the end of a fault, or the reason why the region
 * was not replaced. Context: handler-safe. */
uint64_t bez_outcome_count(enum bez_outcome outcome);

struct bez_event {
	uint64_t seq;		/* 1, 2, 3 ... in the order of completion */
	uint64_t time_ns;	/* CLOCK_MONOTONIC when the fault was taken */
	uint64_t took_ns;	/* from there until ready to resume; 0: it was
				 * lost before, and there was nothing to do */
	uint64_t addr;		/* as the kernel gave it; 0: none */
	uint64_t width;		/* bytes of the extent; 0: unknown */
	bez_region_t region;	/* 0: none */
	int32_t tid;
	int32_t si_code;
	uint16_t cause;		/* enum bez_cause */
	uint16_t outcome;	/* enum bez_outcome */
	uint16_t action;	/* enum bez_action that ended it */
	uint16_t source;	/* enum bez_source_kind that delivered, or was
				 * asked last */
	uint16_t why;		/* enum bez_outcome: why replace failed, when
				 * a later action ended it */
	uint16_t depth;		/* 1, or more inside another fault */
	char name[BEZ_NAME_MAX + 1];
};

/*
 * Copy up to @max events after number *@seq to @ret_events, oldest first, and
 * move *@seq on (start with 0). Returns how many, >= 0. The last 1,024 are
 * kept; a gap in the numbers says how many a slow reader missed.
 * -EINVAL: a NULL or a max of 0. Context: any, handler-safe.
 */
int bez_events(uint64_t *seq, struct bez_event *ret_events, size_t max);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#include <bezoar/around.h>
#include <bezoar/copy.h>
#include <bezoar/hunt.h>
#include <bezoar/lost.h>
#include <bezoar/quarantine.h>
#include <bezoar/scope.h>
#include <bezoar/shared.h>
#include <bezoar/shutdown.h>

#endif
