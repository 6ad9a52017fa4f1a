/* SPDX-License-Identifier: MIT */
/*
 * The table of injections. Each token is a mapping of its own and its copy is
 * another, both unknown to children: a page that is wiped by fork(2) tells a
 * child that the table it inherited is its parent's.
 */
#define _GNU_SOURCE
#include "inject.h"
#include "sys.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

/* The page below, in a child, is all zeros. */
struct witness {
	uint32_t ours;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct witness *witness;
static struct bzi_token *first;
static bez_inject_t last_id;	/* goes on in children: no number twice */
static sigset_t interrupted;	/* the holder's mask; under the lock */
static __thread int inside;	/* this thread has the lock, or fork(2) for it */

/* No fork while memory is fenced: the child would have the hole for good. */
static void before_fork(void)
{
	inside = 1;
	pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&lock);
	inside = 0;
}

static void set_up(void)
{
	size_t page = bzi_sys_page_size();
	void *p = bzi_sys_map(page, PROT_READ | PROT_WRITE);

	if (!p)
		return;
	if (bzi_sys_advise(p, page, MADV_WIPEONFORK) ||
	    pthread_atfork(before_fork, after_fork, after_fork)) {
		bzi_sys_unmap(p, page);
		return;
	}
	witness = p;
}

/*
 * Signals stay blocked from before the lock until after it, and all through the
 * call: a handler that called us would wait for the very thread it interrupted,
 * and so would one that touched memory that is fenced. That leaves who calls
 * us from between our own functions around fork(2).
 */
int bzi_lock(void)
{
	sigset_t old;

	if (inside)
		return -EDEADLK;
	bzi_sys_block_signals(&old);
	pthread_once(&once, set_up);
	if (!witness) {
		bzi_sys_restore_signals(&old);
		return -ENOMEM;
	}
	inside = 1;
	pthread_mutex_lock(&lock);
	interrupted = old;
	if (!witness->ours) {
		first = NULL;
		witness->ours = 1;
	}
	return 0;
}

void bzi_unlock(void)
{
	sigset_t old = interrupted;

	pthread_mutex_unlock(&lock);
	inside = 0;
	bzi_sys_restore_signals(&old);
}

int bzi_hide(void *addr, size_t len)
{
	int r = bzi_sys_advise(addr, len, MADV_DONTFORK);

	return r ? r : bzi_sys_advise(addr, len, MADV_DONTDUMP);
}

static size_t round_up(size_t n)
{
	size_t page = bzi_sys_page_size();

	return (n + page - 1) / page * page;
}

struct bzi_token *bzi_token_new(const struct bzi_memory *m, uint32_t backend,
				uint32_t flags)
{
	size_t len = round_up(sizeof(struct bzi_token) +
			      m->len / m->page * sizeof(uint64_t));
	struct bzi_token *t = bzi_sys_map(len, PROT_READ | PROT_WRITE);

	if (!t)
		return NULL;
	if (bzi_hide(t, len)) {
		bzi_sys_unmap(t, len);
		return NULL;
	}
	t->self_len = len;
	t->backend = backend;
	t->flags = flags;
	t->addr = m->addr;
	t->len = m->len;
	t->page = m->page;
	t->shared = m->shared;
	t->fd = -1;
	return t;
}

void bzi_token_publish(struct bzi_token *t)
{
	t->id = ++last_id;
	t->next = first;
	first = t;
}

struct bzi_token *bzi_token_find(bez_inject_t id)
{
	struct bzi_token *t;

	for (t = first; t && t->id != id; t = t->next)
		;
	return t;
}

void bzi_token_free(struct bzi_token *t)
{
	struct bzi_token **at;

	for (at = &first; *at; at = &(*at)->next) {
		if (*at == t) {
			*at = t->next;
			break;
		}
	}
	bzi_token_drop_copy(t);
	if (t->fd >= 0)
		bzi_sys_close(t->fd);
	bzi_sys_unmap(t, t->self_len);
}

int bzi_token_room(struct bzi_token *t, size_t len, int prot)
{
	t->copy_len = round_up(len);
	t->copy = bzi_sys_map(t->copy_len, prot);
	return t->copy ? 0 : -ENOMEM;
}

int bzi_token_copy(struct bzi_token *t, const struct bzi_memory *m)
{
	size_t unit = bzi_sys_page_size();
	size_t at;
	int r;

	if (!m->readable)
		return -EOPNOTSUPP;
	r = bzi_token_room(t, t->len, PROT_READ | PROT_WRITE);
	if (!r)
		r = bzi_hide(t->copy, t->copy_len);
	if (!r && m->locked)
		r = bzi_sys_lock(t->copy, t->copy_len);
	for (at = 0; !r && at < t->len; at += unit) {
		ssize_t n = bzi_sys_peek(t->copy + at, t->addr + at, unit);

		if (n < 0 && n != -EFAULT)
			r = (int)n;
	}
	return r;
}

void bzi_token_drop_copy(struct bzi_token *t)
{
	if (t->copy)
		bzi_sys_unmap(t->copy, t->copy_len);
	t->copy = NULL;
}

/* Of the stack: what is called from here, and the frames of the call. */
#define STACK_BELOW	(32 * 1024)
#define STACK_ABOVE	4096

static bool covers(uintptr_t a, size_t len, const void *p, size_t below,
		   size_t above)
{
	return (uintptr_t)p + above > a && (uintptr_t)p - below < a + len;
}

bool bzi_stands_on(const void *addr, size_t len)
{
	uintptr_t a = (uintptr_t)addr;
	char here;

	return covers(a, len, &here, STACK_BELOW, STACK_ABOVE) ||
	       covers(a, len, &errno, 0, sizeof(errno)) ||
	       covers(a, len, &lock, 0, sizeof(lock)) ||
	       covers(a, len, witness, 0, sizeof(*witness));
}
