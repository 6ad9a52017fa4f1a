/* SPDX-License-Identifier: MIT */
/*
 * The registers of the other threads: each is sent a signal, and writes them down
 * (ask_sig.c). The action for it stays where it is once it is installed: a signal
 * that is still on its way would find the default one, and end the process. For the
 * same reason a thread that blocks it is not sent it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/core.h"
#include "hunt/hunt.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define PATIENCE_NS	1000000000u
#define FIRST_SIGNAL	34		/* below: the libc's */
#define LAST_SIGNAL	64
#define RED_ZONE	128u		/* below the stack pointer; x86-64's ABI */
#define BUFFER		8192u

/* Process that asks; 0: nobody. CAS by it, 0 again by it. One that a child of
 * fork(2) has inherited is nobody's. */
static _Atomic int32_t asking;
static _Atomic uint64_t questions;

struct asker {
	struct bz_hunt *h;
	struct bz_asks *asks;
	struct bz_pieces *stacks;
	uint64_t end;			/* when patience is */
	uint32_t used;			/* slots, from 0 on */
	int32_t tid[BZ_ASKED];		/* of each; 0: not asked */
	_Alignas(8) char buffer[BUFFER];
};

/* ------------------------------------------------------------- preparations */

static void find_parts(struct bz_asks *asks)
{
#if defined(__x86_64__)
	static const uint32_t bits[3] = { 2, 6, 7 };	/* AVX, AVX-512 */
	uint32_t i, most, size, offset, c, d;

	asks->part[0].bit = 1;		/* SSE: xmm0 to 15 */
	asks->part[0].offset = 160;
	asks->part[0].bytes = 256;
	__cpuid(0, most, offset, c, d);
	for (i = 0; i < 3 && most >= 0xd; i++) {
		__cpuid_count(0xd, bits[i], size, offset, c, d);
		asks->part[i + 1].bit = bits[i];
		asks->part[i + 1].offset = offset;
		asks->part[i + 1].bytes = size;
	}
#else
	(void)asks;
#endif
}

static struct bz_asks *prepare(void)
{
	struct bz_asks *asks = atomic_load(&bz_asks);
	uint32_t own;

	if (asks)
		return asks;
	asks = bz_hunt_get(sizeof(*asks), &own);
	if (!asks)
		return NULL;
	find_parts(asks);
	atomic_store(&bz_asks, asks);
	return asks;
}

/* 0, -EINVAL, -EBUSY. */
static int install(int sig)
{
	struct sigaction was, action = { .sa_sigaction = bz_on_ask };

	if (sig < FIRST_SIGNAL || sig > LAST_SIGNAL)
		return -EINVAL;
	if (sigaction(sig, NULL, &was))
		return -errno;
	if ((was.sa_flags & SA_SIGINFO) && was.sa_sigaction == bz_on_ask)
		return 0;
	if ((was.sa_flags & SA_SIGINFO) || was.sa_handler != SIG_DFL)
		return -EBUSY;
	action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
	sigfillset(&action.sa_mask);
	sigdelset(&action.sa_mask, SIGBUS);
	sigdelset(&action.sa_mask, SIGSEGV);
	return sigaction(sig, &action, NULL) ? -errno : 0;
}

/* --------------------------------------------------------------- who there is */

struct entry {				/* getdents64(2) */
	uint64_t ino;
	int64_t off;
	uint16_t bytes;
	uint8_t type;
	char name[];
};

static int number_of(const char *name)
{
	int n = 0;

	for (; *name >= '0' && *name <= '9'; name++)
		n = n * 10 + *name - '0';
	return n;
}

/* All threads, as pieces of their numbers. */
static int list_threads(struct asker *a, struct bz_pieces *ret)
{
	long fd = bz_openat("/proc/self/task",
			    O_RDONLY | O_DIRECTORY | O_CLOEXEC), got, i;
	int r = 0;

	if (fd < 0)
		return (int)fd;
	while (!r && (got = bz_sys(SYS_getdents64, fd, (long)a->buffer,
				   BUFFER, 0, 0, 0)) > 0)
		for (i = 0; !r && i < got; ) {
			const struct entry *e = (void *)(a->buffer + i);
			int tid = number_of(e->name);

			i += e->bytes;
			if (tid)
				r = bz_pieces_add(ret, (uint64_t)tid,
						  (uint64_t)tid + 1, 0);
		}
	bz_close((int)fd);
	bz_pieces_join(ret);
	return r;
}

enum state { GONE, BLOCKS, LISTENS };

/* What /proc says of it: is it about to answer @sig? */
static enum state state_of(struct asker *a, int tid, int sig)
{
	static const char mask_is[] = "\nSigBlk:\t", state_is[] = "\nState:\t";
	uint64_t mask = 0;
	char path[48];
	const char *at;
	long fd, got;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
	fd = bz_openat(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return GONE;
	got = bz_read((int)fd, a->buffer, BUFFER - 1);
	bz_close((int)fd);
	if (got <= 0)
		return GONE;
	a->buffer[got] = '\0';
	at = strstr(a->buffer, state_is);
	if (at && strchr("ZX", at[sizeof(state_is) - 1]))
		return GONE;
	at = strstr(a->buffer, mask_is);
	if (!at)
		return BLOCKS;
	for (at += sizeof(mask_is) - 1; *at && *at != '\n'; at++)
		mask = mask << 4 | (uint64_t)(*at <= '9' ? *at - '0' :
							   *at - 'a' + 10);
	return mask & bz_sigbit(sig) ? BLOCKS : LISTENS;
}

/* ------------------------------------------------------------ question, answer */

static void ask(struct asker *a, int tid, int sig)
{
	struct bz_asked *slot = &a->asks->slot[a->used];
	uint64_t n = atomic_fetch_add(&questions, 1) + 1;
	siginfo_t info;
	long r;

	/* an answer that never ended: not to be written over */
	while ((atomic_load(&slot->state) & 3) == BZ_ASK_WRITING) {
		a->tid[a->used++] = 0;
		if (a->used == BZ_ASKED) {
			a->h->unseen++;
			return;
		}
		slot++;
	}
	memset(&info, 0, sizeof(info));
	info.si_signo = sig;
	info.si_code = SI_QUEUE;
	info.si_pid = (int)bz_sys0(SYS_getpid);
	info.si_uid = (uint32_t)bz_sys0(SYS_getuid);
	info.si_value.sival_ptr = (void *)(n * BZ_ASKED + a->used);
	atomic_store(&slot->state, n << 2 | BZ_ASK_ASKED);
	r = bz_sys(SYS_rt_tgsigqueueinfo, info.si_pid, tid, sig, (long)&info,
		   0, 0);
	if (r) {
		atomic_store(&slot->state, BZ_ASK_NONE);
		a->h->unseen += r != -ESRCH;
		return;
	}
	a->tid[a->used++] = tid;
}

/* acquire: pairs with bz_on_ask() */
static int answered(const struct bz_asked *slot)
{
	return (atomic_load_explicit(&slot->state, memory_order_acquire) &
		3) == BZ_ASK_DONE;
}

static int note(struct asker *a, struct bz_asked *slot, int tid)
{
	struct bz_hunt *h = a->h;
	uint32_t i;

	for (i = 0; i < slot->generals; i++)
		bz_note(h, &h->bag, NULL, slot->general[i], 0, tid, i);
	for (i = 0; i < slot->vectors; i++)
		bz_note(h, &h->bag, NULL, slot->vector[i], 0, tid,
			BEZ_HUNT_REG_VECTOR + i);
	return bz_pieces_add(a->stacks, slot->sp - RED_ZONE, slot->sp, 0);
}

/* Wait for the answers that are outstanding. 0 or -ENOMEM. */
static int collect(struct asker *a)
{
	uint64_t now = bz_now_ns();
	uint32_t i, answers;
	int r = 0, waits;

	for (;;) {
		answers = atomic_load(&a->asks->answers);
		for (i = 0, waits = 0; i < a->used; i++)
			waits |= a->tid[i] && !answered(&a->asks->slot[i]);
		if (!waits || now >= a->end)
			break;
		bz_futex_wait(&a->asks->answers, answers, a->end - now);
		now = bz_now_ns();
	}
	for (i = 0; !r && i < a->used; i++) {
		struct bz_asked *slot = &a->asks->slot[i];
		uint64_t is = atomic_load(&slot->state);

		if (!a->tid[i])
			continue;
		/* too late from here on */
		if ((is & 3) == BZ_ASK_ASKED)
			atomic_compare_exchange_strong(&slot->state, &is,
						       BZ_ASK_NONE);
		if (answered(slot)) {
			a->h->seen++;
			r = note(a, slot, a->tid[i]);
		} else {
			a->h->unseen++;
		}
	}
	a->used = 0;
	return r;
}

static int ask_all(struct asker *a)
{
	int worker = atomic_load(&a->h->mm->worker_tid);
	int self = bz_gettid(), sig = a->h->o.signal, r;
	struct bz_pieces tids = { 0 };
	size_t i;

	r = list_threads(a, &tids);
	for (i = 0; !r && i < tids.count; i++) {
		int tid = (int)tids.at[i].start;

		if (tid == self || tid == worker)
			continue;
		switch (state_of(a, tid, sig)) {
		case LISTENS:
			ask(a, tid, sig);
			break;
		case BLOCKS:
			a->h->unseen++;
			break;
		case GONE:
		default:
			break;
		}
		if (a->used == BZ_ASKED)
			r = collect(a);
	}
	if (!r)
		r = collect(a);
	bz_pieces_free(&tids);
	return r;
}

/* What the caller of bez_hunt() has in registers that a function keeps: they are
 * in the frame of that. */
static void note_caller(struct bz_hunt *h)
{
	const uint64_t *at;

	for (at = (const uint64_t *)h->kept; at < (const uint64_t *)h->high;
	     at++)
		bz_note(h, &h->bag, NULL, *(const volatile uint64_t *)at, 0,
			bz_gettid(), BEZ_HUNT_REG_KEPT);
	h->seen++;
}

int bz_ask_threads(struct bz_hunt *h, struct bz_pieces *ret_stacks)
{
	int32_t pid = (int32_t)bz_sys0(SYS_getpid), was = 0;
	struct asker *a;
	uint32_t own;
	int r;

	r = install(h->o.signal);
	if (r)
		return r;
	while (!atomic_compare_exchange_strong(&asking, &was, pid))
		if (was == pid)
			return -EBUSY;
	a = bz_hunt_get(sizeof(*a), &own);
	r = -ENOMEM;
	if (a)
		a->asks = prepare();
	if (a && a->asks) {
		a->h = h;
		a->stacks = ret_stacks;
		a->end = bz_after(bz_now_ns(), h->o.patience_ns ?
					h->o.patience_ns : PATIENCE_NS);
		r = ask_all(a);
	}
	/* the worker's stack is ours */
	if (!r && bz_gettid() != atomic_load(&h->mm->worker_tid)) {
		note_caller(h);
		r = bz_pieces_add(ret_stacks, h->high, h->high + 1, 0);
	}
	bz_hunt_put(a, sizeof(*a), own);
	atomic_store(&asking, 0);
	return r;
}
