/* SPDX-License-Identifier: MIT */
#include "held.h"

#include <bezoar/bezoar.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ended.h"

#define SECOND		1000000000ull
#define LINGER		(10 * SECOND)	/* connected no more, but alive */
#define PATIENCE	(10 * SECOND)	/* until a parent has waited for it */
#define WORD		(SECOND / 4)	/* what is sent before the end is read
					 * and stored after it */
#define RECENT		(5 * SECOND)	/* such a record is its last word */
#define SPARE		32		/* descriptors that are left for others */
#define OF_SHELLS	128		/* + signal: a shell's status */

void helds_init(struct helds *h, int epoll, struct batch *batch)
{
	uint32_t i;

	h->epoll = epoll;
	h->batch = batch;
	h->generations = h->due_ns = 0;
	for (i = 0; i < HELD_MOST; i++)
		h->held[i] = (struct held){ .fd = -1 };
}

static void drop(struct held *held)
{
	close(held->fd);		/* and leaves the epoll by that */
	held->fd = -1;
	held->generation = 0;
}

static void due(struct helds *h, struct held *held, uint64_t in_ns)
{
	held->due_ns = clock_now() + in_ns;
	if (!h->due_ns || held->due_ns < h->due_ns)
		h->due_ns = held->due_ns;
}

static void first_due(struct helds *h)
{
	uint32_t i;

	h->due_ns = 0;
	for (i = 0; i < HELD_MOST; i++) {
		const struct held *held = &h->held[i];

		if (held->fd >= 0 && held->due_ns &&
		    (!h->due_ns || held->due_ns < h->due_ns))
			h->due_ns = held->due_ns;
	}
}

/* A place: a free one, or that of who is not connected any more. */
static struct held *room(struct helds *h)
{
	struct held *victim = NULL;
	uint32_t i;

	for (i = 0; i < HELD_MOST; i++) {
		struct held *held = &h->held[i];

		if (held->fd < 0)
			return held;
		if (!held->connections && !held->has_ended &&
		    (!victim || held->due_ns < victim->due_ns))
			victim = held;
	}
	if (victim)
		drop(victim);
	return victim;
}

/* Pidfds are not to take what connections need. */
static int is_scarce(int fd)
{
	struct rlimit most;

	return !getrlimit(RLIMIT_NOFILE, &most) &&
	       (rlim_t)fd + SPARE >= most.rlim_cur;
}

static struct held *add(struct helds *h, int fd, const struct ended_stat *stat,
			pid_t pid, uid_t uid)
{
	struct held *held = is_scarce(fd) ? NULL : room(h);
	struct epoll_event event = { .events = EPOLLIN };

	if (!held) {
		close(fd);
		return NULL;
	}
	*held = (struct held){
		.fd = fd, .generation = ++h->generations, .pid = pid,
		.uid = uid, .start_ticks = stat->start_ticks,
	};
	memcpy(held->comm, stat->comm, sizeof(held->comm));
	event.data.u32 = HELD_EVENT + (uint32_t)(held - h->held);
	if (!epoll_ctl(h->epoll, EPOLL_CTL_ADD, fd, &event))
		return held;
	drop(held);
	return NULL;
}

static struct held *find(struct helds *h, pid_t pid, uint64_t start_ticks)
{
	uint32_t i;

	for (i = 0; i < HELD_MOST; i++) {
		struct held *held = &h->held[i];

		if (held->fd >= 0 && !held->has_ended && held->pid == pid &&
		    held->start_ticks == start_ticks)
			return held;
	}
	return NULL;
}

struct held_by held_take(struct helds *h, int connection, pid_t pid, uid_t uid)
{
	struct held_by by = { 0, 0 };
	struct ended_stat stat;
	struct held *held;
	int fd;

	/* 0: of a namespace that cannot be seen from here */
	fd = pid ? ended_hold(connection, pid, &stat) : -1;
	held = fd < 0 ? NULL : find(h, pid, stat.start_ticks);
	if (held)
		close(fd);
	else if (fd >= 0)
		held = add(h, fd, &stat, pid, uid);
	if (!held) {
		batch_count(h->batch, COUNT_UNHELD, 1);
		return by;
	}
	held->connections++;
	if (held->due_ns) {
		held->due_ns = 0;
		first_due(h);
	}
	by.i = (uint32_t)(held - h->held);
	by.generation = held->generation;
	return by;
}

void held_leave(struct helds *h, struct held_by by)
{
	struct held *held = &h->held[by.i];

	/* who has ended may be gone: a child of it was connected, too */
	if (!by.generation || held->generation != by.generation)
		return;
	held->connections--;
	if (!held->connections && !held->has_ended)
		due(h, held, LINGER);
}

static void has_ended(struct helds *h, struct held *held, int32_t status)
{
	epoll_ctl(h->epoll, EPOLL_CTL_DEL, held->fd, NULL);
	held->has_ended = 1;
	held->status = status;
	/* what it has sent is in the sockets, or in the batch */
	due(h, held, h->batch->delay_ns + WORD);
}

void held_event(struct helds *h, uint32_t i, uint32_t events)
{
	/* 0: when it has been waited for (EPOLLHUP) */
	struct epoll_event gone = { .data.u32 = HELD_EVENT + i };
	struct held *held = &h->held[i];
	int32_t status = -1;

	if (held->fd < 0 || held->has_ended)
		return;
	if (ended_how(held->fd, held->pid, held->start_ticks, held->uid,
		      &status) != ENDED_LATER || (events & EPOLLHUP)) {
		has_ended(h, held, status);
		return;
	}
	epoll_ctl(h->epoll, EPOLL_CTL_MOD, held->fd, &gone);
	due(h, held, PATIENCE);
}

static int of_sigbus(int32_t status)
{
	return status != -1 &&
	       ((WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS) ||
		(WIFEXITED(status) && WEXITSTATUS(status) == OF_SHELLS + SIGBUS));
}

/* 0: it has to wait, as the store has no room. */
static int judge_end(struct helds *h, struct held *held)
{
	struct item *item;
	int is_word;

	/* its last record may be in there: it is not known yet */
	if (h->batch->n && batch_put(h->batch))
		return 0;
	if (!of_sigbus(held->status) && !held->shuts_down &&
	    !(held->status == -1 && held->says_end))
		return 1;
	is_word = held->says_end || (held->last && clock_now() - held->last_ns <
						   RECENT);
	item = batch_room(h->batch);
	if (!item)
		return 0;
	*item = (struct item){
		.kind = ITEM_DEATH, .client = CLIENT_NONE, .pid = held->pid,
		.uid = held->uid,
		.bytes = (uint16_t)strnlen(held->comm, sizeof(held->comm)),
		.more.death = {
			.start_ticks = held->start_ticks,
			.status = held->status,
			.told = is_word ? held->last : 0,
		},
	};
	memcpy(item->raw, held->comm, sizeof(held->comm));
	batch_add(h->batch);
	return 1;
}

static void on_time(struct helds *h, struct held *held)
{
	int32_t status = -1;

	if (held->has_ended) {
		if (judge_end(h, held))
			drop(held);
		else
			due(h, held, SECOND);
		return;
	}
	/* ended, and nobody has waited for it in all that time; or it lives on */
	if (ended_how(held->fd, held->pid, held->start_ticks, held->uid,
		      &status) == ENDED_LATER)
		has_ended(h, held, -1);
	else
		drop(held);
}

void held_time(struct helds *h)
{
	uint64_t now = clock_now();
	uint32_t i;

	for (i = 0; i < HELD_MOST; i++) {
		struct held *held = &h->held[i];

		if (held->fd >= 0 && held->due_ns && held->due_ns <= now)
			on_time(h, held);
	}
	first_due(h);
}

void held_told(struct helds *h, const struct item *item)
{
	struct bez_record r;
	uint32_t i;

	for (i = 0; i < HELD_MOST; i++) {
		struct held *held = &h->held[i];

		if (held->fd < 0 || held->pid != item->pid)
			continue;
		memcpy(&r, item->raw, sizeof(r));
		held->last = item->number;
		held->last_ns = clock_now();
		held->shuts_down = r.action == BEZ_ACTION_SHUTDOWN;
		held->says_end = held->shuts_down ||
				 r.action == BEZ_ACTION_DEFAULT;
		return;
	}
}

void helds_close(struct helds *h)
{
	uint32_t i;

	for (i = 0; i < HELD_MOST; i++) {
		struct held *held = &h->held[i];

		if (held->fd >= 0 && held->has_ended)
			judge_end(h, held);
		if (held->fd >= 0)
			drop(held);
	}
}
